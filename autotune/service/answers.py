"""What the service shows of searches, trials and itself, as pydantic models."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from autotune.service.bodies import Answer
from autotune.studies.records import Command, Role, SearchState, TrialState
from autotune.studies.tokens import Scope


class StudyAnswer(Answer):
    """All trials of one optimizer."""

    optimizer: str
    counts: Mapping[str, int]
    best: float | None
    url: str


class SearchAnswer(Answer):
    """A search as stored."""

    name: str
    url: str
    state: SearchState
    command: Command
    revision: int
    seconds: float
    created: datetime
    updated: datetime
    task: Mapping[str, Any]
    spec: Mapping[str, Any]
    studies: list[StudyAnswer]


class Searches(Answer):
    """A page of searches, the newest first."""

    searches: list[SearchAnswer]
    next: str | None = Field(description="Address of the next page; null on the last.")


class PointAnswer(Answer):
    """A measurement."""

    step: int
    seconds: float
    train_loss: float | None
    loss: float | None
    accuracy: float | None


class TrialAnswer(Answer):
    """One run of a setting."""

    number: int
    role: Role
    origin: str
    state: TrialState
    step: int
    target: int
    loss: float | None
    accuracy: float | None
    seconds: float
    reason: str | None
    seed_index: int
    source: int | None
    hyper: Mapping[str, Any]
    warmup: float
    url: str
    points: list[PointAnswer] | None = None


class TrialEvent(TrialAnswer):
    """A trial that changed, as it stands now."""

    optimizer: str
    measured: PointAnswer | None = Field(description="Its last measurement.")


class SearchEvent(Answer):
    """How a search stands when all before was told."""

    name: str
    state: SearchState
    command: Command
    revision: int
    seconds: float
    studies: list[StudyAnswer]


class Trials(Answer):
    """A page of a study's trials, by number."""

    trials: list[TrialAnswer]
    next: str | None


class EstimateAnswer(Answer):
    """A mean and its 95 % interval."""

    mean: float
    low: float | None
    high: float | None
    n: int


class Recommendation(Answer):
    """What a study recommends, judged on fresh seeds."""

    search: str
    optimizer: str
    hyper: Mapping[str, Any]
    warmup: float
    loss: EstimateAnswer | None
    default: EstimateAnswer | None
    difference: EstimateAnswer | None
    seeds: Mapping[int, float]
    verdict: str
    against_adamw: str | None
    complete: bool


class Valid(Answer):
    """A search that could begin."""

    rungs: list[int]
    spaces: Mapping[str, Mapping[str, Any]] = Field(description="Ranges by optimizer.")
    runs: float | None = Field(description="Full runs for each optimizer; null if only time ends.")


class TokenAnswer(Answer):
    """Who may call; its secret is not known."""

    id: int
    name: str
    scope: Scope
    search: str | None
    created: datetime
    expires: datetime | None
    revoked: datetime | None
    used: datetime | None


class MadeToken(TokenAnswer):
    """A new token, with its secret."""

    secret: str


class Tokens(Answer):
    """All tokens, the oldest first."""

    tokens: list[TokenAnswer]


class Health(Answer):
    """Whether the process answers."""

    status: Literal["ok", "draining", "unavailable"]


class About(Answer):
    """What this version of the service can do."""

    version: str
    capabilities: list[str]
    optimizers: list[str]
    formats: list[str]
