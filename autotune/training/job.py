"""What the search sends to engines and gets back: jobs and reports.

Both are small frozen values: they can be pickled, and ``asdict`` of either is JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from autotune.studies.records import Gradient, Point
from autotune.studies.setting import Setting

FIRST = "first"  # fact of a report: likenesses of the batches that the trial began with


@dataclass(frozen=True, kw_only=True)
class Job:
    """A part of one trial: train from step ``start`` to ``stop`` of ``target``."""

    trial: int  # the store's id
    attempt: int  # reports of older attempts are refused
    task: Mapping[str, Any]  # arguments of autotune.tasks.resolve.resolve
    optimizer: str
    setting: Setting
    seed: int
    start: int
    stop: int
    target: int
    evaluate: tuple[int, ...]  # steps after which validation loss is measured
    checkpoint: str | None = None  # file to write at a pause
    resume: str | None = None  # file to read if start > 0, if not ``checkpoint``
    checksum: str | None = None  # of the file that is read
    content: Mapping[str, str] = field(default_factory=dict)  # hashes of the model's files, by name
    pauses: bool = True  # False: it is trained to ``target`` unless a rung ends it
    schedule: tuple[float, ...] = ()  # factors on lr over the run; empty: warm-up and cosine
    norms: bool = False  # whether to tell the norms of each step's gradient
    noise: tuple[int, ...] = ()  # steps, from 0, at which to measure how noisy the gradient is


class Outcome(StrEnum):
    """What a report says."""

    PROGRESS = "progress"  # new points; the job goes on
    REACHED = "reached"  # the job's last step was taken
    INTERRUPTED = "interrupted"  # stopped early as asked, and saved at `step`
    DIVERGED = "diverged"
    STOPPED = "stopped"  # at a rung that ends it, because its worker cannot pause
    FAILED = "failed"  # the task's code raised: trying again would not help
    LOST = "lost"  # the worker or machine died: worth another attempt


@dataclass(frozen=True, kw_only=True)
class Report:
    """A worker's message about a job."""

    trial: int
    attempt: int
    outcome: Outcome
    step: int
    points: tuple[Point, ...] = ()
    seconds: float = 0.0  # training and evaluation in this attempt so far
    reason: str | None = None
    output: tuple[str, ...] = ()  # last lines that a command printed before it failed
    saved: bool = False  # whether the checkpoint holds the state at `step`
    checksum: str | None = None  # of the checkpoint
    worker: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)  # backend chosen, device, ...
    exhausted: bool = False  # the worker was out of memory
    crowded: bool = False  # and other processes held much of its GPU's
    misfit: str | None = None  # and no setting would have had enough: what to tell the user
    spoilt: bool = False  # the worker's process cannot use its GPU any more
    blame: bool = True  # whether a LOST job counts as a try of its trial
    gradients: tuple[Gradient, ...] = ()  # measured since the last report, where that was asked for
    kept: bool = False  # whether the worker keeps the paused training of a loop of the user's own


def empty_report(
    job: Job, outcome: Outcome, reason: str | None = None, *, worker: str, blame: bool = True
) -> Report:
    """Return a report of a job that has reported no step itself."""
    return Report(
        trial=job.trial,
        attempt=job.attempt,
        outcome=outcome,
        step=job.start,
        reason=reason,
        worker=worker,
        blame=blame,
    )
