"""What the service answers, as pydantic models."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from autotune.search.telling import Order
from autotune.studies.records import Command, Role, SearchState, TrialState
from autotune.studies.tokens import Scope


class Answer(BaseModel):
    """What the service sends."""

    model_config = ConfigDict(frozen=True)


class StudyAnswer(Answer):
    """All trials of one optimizer."""

    optimizer: str
    counts: Mapping[str, int]
    best: float | None
    added: int = Field(description="Trials that were measured elsewhere, which are not counted.")
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
    seed_index: int | None = Field(description="None of a trial that was measured elsewhere.")
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


class Schedule(Answer):
    """The learning rate's schedule: a linear warm-up, then a cosine to 0 or a constant rate."""

    type: Literal["cosine", "constant"] = "cosine"
    warmup_fraction: float
    steps: int


class StateOf(Answer):
    """A saved state."""

    uri: str
    step: int
    sha256: str | None


class LeaseAnswer(Answer):
    """A trial to train now: from step ``from_step`` to ``stop_at``."""

    id: str
    url: str
    search: str
    study: str
    trial: int
    attempt: int
    role: Role
    seed: int
    optimizer: str
    hyper: Mapping[str, Any]
    flat: Mapping[str, Any]
    schedule: Schedule
    from_step: int
    stop_at: int
    evaluate_at: list[int]
    norms: bool = Field(
        default=False,
        description="Whether the search keeps the gradient norms of each step: send `gradients`.",
    )
    noise: list[int] = Field(
        default_factory=list,
        description="Steps, from 0, at which it keeps how noisy the gradient is, likewise.",
    )
    state: StateOf | None
    expires_in: float
    beat_every: float


class Leases(Answer):
    """What a worker trains now."""

    leases: list[LeaseAnswer]


class Next(Answer):
    """What a worker is to do next."""

    command: Order
    stop_at: int
    evaluate_at: list[int]
    expires_in: float


class EndAnswer(Answer):
    """How the trial stands after its lease."""

    state: TrialState
    step: int
    loss: float | None


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
