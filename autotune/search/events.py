"""What happens during a search, as values; the command line, logs and tests listen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autotune.studies.records import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Event:
    """Anything a listener may hear."""


@dataclass(frozen=True, kw_only=True)
class SearchStarted(Event):
    """A search begins, or goes on."""

    name: str
    storage: str  # password masked
    task: Mapping[str, Any]
    optimizers: tuple[str, ...]
    rungs: tuple[int, ...]
    resumed: int  # trials found from earlier sittings
    workers: int
    engine: str


@dataclass(frozen=True, kw_only=True)
class Spent(Event):
    """How much of the budget is used; told whenever it changed."""

    stage: str  # "search", "select" or "judge"
    runs: Mapping[str, float]  # full runs spent, by optimizer
    planned: Mapping[str, float]  # full runs expected in the end, by optimizer
    seconds: float  # of this search, all sittings together
    left: float | None  # seconds expected until the end; None while unknown
    best: Mapping[str, float] = field(default_factory=dict)  # lowest full-length loss so far


@dataclass(frozen=True, kw_only=True)
class TrialStarted(Event):
    """A stretch of a trial was handed to a worker."""

    optimizer: str
    trial: TrialRecord
    stop: int  # the step this stretch ends at


@dataclass(frozen=True, kw_only=True)
class TrialProgressed(Event):
    """A running trial measured something."""

    optimizer: str
    number: int
    step: int
    loss: float | None
    train_loss: float | None


@dataclass(frozen=True, kw_only=True)
class TrialEnded(Event):
    """A stretch is over: the trial paused, completed, diverged, stopped or failed."""

    optimizer: str
    trial: TrialRecord
    best: bool = False  # the lowest full-length loss of its study so far


@dataclass(frozen=True, kw_only=True)
class Notice(Event):
    """One sentence a person should read."""

    text: str


@dataclass(frozen=True, kw_only=True)
class SearchEnded(Event):
    """The search is complete or was interrupted."""

    name: str
    complete: bool
    seconds: float


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing."""
