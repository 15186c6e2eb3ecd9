"""The events of a search, for listeners such as the command line, logs and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autotune.studies.records import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base class of all events."""


@dataclass(frozen=True, kw_only=True)
class SearchStarted(Event):
    """A search starts or continues."""

    name: str
    storage: str  # password masked
    task: Mapping[str, Any]
    optimizers: tuple[str, ...]
    rungs: tuple[int, ...]
    resumed: int  # trials that were already stored
    workers: int
    engine: str


@dataclass(frozen=True, kw_only=True)
class Spent(Event):
    """How much of the budget is used; sent whenever that changes."""

    stage: str  # "search", "select" or "judge"
    runs: Mapping[str, float]  # full runs spent, by optimizer
    planned: Mapping[str, float]  # full runs expected in the end, by optimizer
    seconds: float  # spent on this search, earlier runs of the command included
    left: float | None  # seconds expected until the end; None while unknown
    best: Mapping[str, float] = field(default_factory=dict)  # lowest full-length loss so far


@dataclass(frozen=True, kw_only=True)
class TrialStarted(Event):
    """A worker starts to train a trial, from its start or from a pause."""

    optimizer: str
    trial: TrialRecord
    stop: int  # the step it trains to


@dataclass(frozen=True, kw_only=True)
class TrialProgressed(Event):
    """A running trial measured a loss."""

    optimizer: str
    number: int
    step: int
    loss: float | None
    train_loss: float | None


@dataclass(frozen=True, kw_only=True)
class TrialEnded(Event):
    """A job is over: the trial paused, completed, diverged, stopped or failed."""

    optimizer: str
    trial: TrialRecord
    best: bool = False  # the lowest full-length loss of its study so far


@dataclass(frozen=True, kw_only=True)
class Notice(Event):
    """A message for the user."""

    text: str


@dataclass(frozen=True, kw_only=True)
class SearchEnded(Event):
    """The search is complete or interrupted."""

    name: str
    complete: bool
    seconds: float


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Ignore an event."""
