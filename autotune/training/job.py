"""What crosses the border between the engine and wherever trials run.

A job and a report are small frozen values: they pickle, and ``asdict`` of either is JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from autotune.studies.records import Point


@dataclass(frozen=True, kw_only=True)
class Job:
    """A stretch of one trial: train from ``start`` to ``stop`` of ``target`` steps."""

    trial: int  # the store's id
    attempt: int  # fencing number: reports of an older attempt are refused
    task: Mapping[str, Any]  # arguments of autotune.tasks.resolve.resolve
    optimizer: str
    hyper: Mapping[str, Any]
    warmup: float
    seed: int
    start: int
    stop: int
    target: int
    evaluate: tuple[int, ...]  # steps after which validation loss is measured
    checkpoint: str | None = None  # where state is written to at a pause
    resume: str | None = None  # where it is read from (start > 0), if elsewhere
    checksum: str | None = None  # of what is read


class Outcome(StrEnum):
    """What a report tells."""

    PROGRESS = "progress"  # a point on the curve; the job goes on
    REACHED = "reached"  # the job's last step was taken
    INTERRUPTED = "interrupted"  # asked to stop early; state was saved at `step`
    DIVERGED = "diverged"
    FAILED = "failed"  # the task's own code raised: running it again would not help
    LOST = "lost"  # the worker died or the machine failed: worth another attempt


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a worker says about a job."""

    trial: int
    attempt: int
    outcome: Outcome
    step: int
    points: tuple[Point, ...] = ()
    seconds: float = 0.0  # this attempt's training and evaluation, so far
    reason: str | None = None
    saved: bool = False  # whether the checkpoint holds the state at `step`
    checksum: str | None = None  # of the checkpoint
    worker: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)  # backend chosen, device, ...


def untold(job: Job, outcome: Outcome, reason: str | None = None, *, worker: str) -> Report:
    """Return a report of a job that took no step it could tell of itself."""
    return Report(
        trial=job.trial,
        attempt=job.attempt,
        outcome=outcome,
        step=job.start,
        reason=reason,
        worker=worker,
    )
