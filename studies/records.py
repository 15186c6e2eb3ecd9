"""The values a store gives and takes: frozen, and made of what JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from autotune.studies.setting import Setting


class TrialState(StrEnum):
    """Where a trial stands."""

    WAITING = "waiting"  # proposed, no step taken yet
    RUNNING = "running"
    PAUSED = "paused"  # at a rung, may still be promoted
    COMPLETE = "complete"  # reached the last step of its schedule
    STOPPED = "stopped"  # the search ended while it was paused at a rung
    DIVERGED = "diverged"  # NaN, infinite or out of memory: a result, not a fault
    FAILED = "failed"  # the user's code or the machine failed; the reason says how


class Role(StrEnum):
    """What a trial is run for."""

    SEARCH = "search"  # to look for a good setting; seed index 0
    SELECT = "select"  # to choose among finalists, on a fresh seed
    JUDGE = "judge"  # to judge the chosen and the default setting, on seeds not used before
    VALIDATE = "validate"  # to see whether that holds in a longer run, on seeds not used before
    ADDED = "added"  # for nothing here: it was measured elsewhere, and samplers know of it


NO_SEED = -1  # seed index of a trial that was measured elsewhere: no run here is paired with it


class SearchState(StrEnum):
    """Where a search stands."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    COMPLETE = "complete"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement on a trial's curve, after ``step`` steps and ``seconds`` of training."""

    step: int
    seconds: float
    train_loss: float | None = None
    loss: float | None = None  # on validation data, never trained on
    accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """What was measured of a trial's gradient in one step, before the optimizer changed it.

    Args:
        step: The step, from 1.
        l1: L1 norm over all parameters; None: not asked for, or not finite.
        l2: L2 norm, likewise.
        variance: Of single samples' gradients, summed over all parameters; None: not asked for, or
            not finite.
        square: Squared norm of their mean, likewise; noise may leave its estimate below 0.
    """

    step: int
    l1: float | None = None
    l2: float | None = None
    variance: float | None = None
    square: float | None = None


@dataclass(frozen=True, kw_only=True)
class AttemptRecord:
    """One worker's go at a trial."""

    trial: int  # its id
    number: int  # from 1, within its trial
    worker: str  # as it named itself
    started: datetime
    heartbeat: datetime  # when the worker was last heard
    ended: datetime | None = None
    outcome: str | None = None  # how it ended; None while it runs


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One run of a setting."""

    id: int
    study: int
    number: int  # from 0, within its study
    role: Role
    origin: str  # who proposed it: "preset:default", "sobol", "gp"; "default" or "tuned" for judges
    setting: Setting
    seed: int  # seed index: equal indices mean equal initialisation and batch order
    target: int  # steps of its full schedule
    source: int | None = None  # number of the search trial whose setting is re-run
    state: TrialState = TrialState.WAITING
    step: int = 0  # steps taken
    loss: float | None = None  # validation loss at `step`; None when diverged or failed
    accuracy: float | None = None
    seconds: float = 0.0  # spent training and evaluating, all attempts together
    reason: str | None = None  # why it diverged, failed or stopped
    output: tuple[str, ...] = ()  # last lines that a command printed before it failed
    checkpoint: str | None = None  # name of the file that holds its state
    checksum: str | None = None  # SHA-256 of that file
    created: datetime | None = None
    updated: datetime | None = None
    final: bool = False  # over for good: void, or stopped at a rung where it could not pause


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """All trials of one optimizer within a search."""

    id: int
    search: str
    optimizer: str  # registry name
    space: Mapping[str, Any]  # as plain data
    counts: Mapping[str, int] = field(default_factory=dict)  # trials by state
    best: float | None = None  # lowest loss of a completed search trial
    added: int = 0  # trials that were measured elsewhere, which no other number counts


@dataclass(frozen=True, kw_only=True)
class SearchRecord:
    """Studies of several optimizers with equal budgets on one task."""

    id: int
    name: str
    spec: Mapping[str, Any]
    task: Mapping[str, Any]  # model, data, data hash, steps, batch_size, parameters, ...
    state: SearchState
    seconds: float  # wall time spent searching, all runs of the command together
    created: datetime
    updated: datetime
    studies: tuple[StudyRecord, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)  # versions and machine


def mixed(task: Mapping[str, Any]) -> str:
    """Say that losses of a search come from different kinds of devices or precisions.

    Returns an empty text where they do not. Such a search has let in workers with ``--mixed``.
    """
    kinds = task.get("mixed", ())
    if not kinds:
        return ""
    return (
        f"mixed: trials ran on {' and on '.join(kinds)}, so their losses may differ for that "
        "alone, those of one seed too"
    )


def own_data(task: Mapping[str, Any]) -> bool:
    """Return whether the function of a task brings its own data, as a Problem does."""
    return task.get("model") is not None and task.get("data") == task["model"]


def own_loop(task: Mapping[str, Any]) -> bool:
    """Return whether a task trains itself: a loop of the user's own."""
    return "loop" in task


def own_image_size(task: Mapping[str, Any]) -> int | None:
    """Return how large a task's images are by themselves, if minutes made them smaller."""
    size: int | None = task.get("shortened_from", {}).get("image_size")
    return size


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A trial to be: what the store needs to add one."""

    role: Role
    origin: str
    setting: Setting
    seed: int
    target: int
    source: int | None = None


class Command(StrEnum):
    """What the workers of a search are told with the answer to a sign of life."""

    CONTINUE = "continue"
    PAUSE = "pause"  # save, hand back and wait
    STOP = "stop"  # save, hand back and leave


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Who asks for a trial, and by which request.

    Args:
        worker: Name of the worker.
        request: The same for each repetition of one call, another for the next.
        pauses: Whether it can go on with a trial later; else a rung says at once who goes on.
        token: Number of the token by which it calls a service, if there are any.
    """

    worker: str
    request: str | None = None
    pauses: bool = True
    token: int | None = None


@dataclass(frozen=True, kw_only=True)
class Held:
    """A trial that somebody runs."""

    trial: int
    attempt: int
    worker: str
    stop: int | None  # the step it is heading for


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a worker hears when it gives a sign of life."""

    command: Command
    lost: frozenset[int]  # its trials that another has taken over


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What happened in a search since a revision of it."""

    revision: int
    state: SearchState
    command: Command
    seconds: float
    spec: Mapping[str, Any]
    trials: tuple[TrialRecord, ...]  # those that changed
    curves: Mapping[int, tuple[Point, ...]]  # theirs
    held: Mapping[int, Held]  # all that are run now, by trial
    recommended: Mapping[int, Mapping[str, Any]]  # by study
    spaces: Mapping[int, Mapping[str, Any]]  # by study: ranges may be widened
