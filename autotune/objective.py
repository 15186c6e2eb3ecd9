"""One stretch of one trial, from a job to reports: what a worker does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from autotune import checkpoint
from autotune.backends.base import Job, Outcome, Report
from autotune.optimizers import create
from autotune.optimizers.groups import split
from autotune.studies.records import Point
from autotune.tasks.base import Run, Task
from autotune.tasks.resolve import resolve
from autotune.train import Course, Diverged, train

POINTS = 40  # of the training loss on a full curve
QUIET = 0.5  # seconds between reports of one job: each costs the coordinator a transaction


@dataclass(frozen=True, kw_only=True)
class _Trial:
    run: Run
    optimizer: torch.optim.Optimizer
    start: int


def perform(job: Job, interrupted: Callable[[], bool], worker: str = "") -> Iterator[Report]:
    """Run a job, yielding a report at every measurement and one when it is over.

    Whatever goes wrong inside the task ends in a report: NaN and out of memory as DIVERGED, an
    exception of the user's code as FAILED.
    """
    blank = Report(
        trial=job.trial,
        attempt=job.attempt,
        outcome=Outcome.PROGRESS,
        step=job.start,
        worker=worker,
    )
    step = job.start
    pending: list[Point] = []

    def report(outcome: Outcome, **more: Any) -> Report:
        seconds = time.perf_counter() - began
        points = tuple(pending)
        pending.clear()
        return replace(blank, outcome=outcome, step=step, seconds=seconds, points=points, **more)

    began = time.perf_counter()
    try:
        task = _task(json.dumps(dict(job.task), sort_keys=True))
        began = time.perf_counter()  # what a process loads once is no trial's cost
        trial = _prepare(job, task)
        told = time.perf_counter()
        for point in train(trial.run, trial.optimizer, _course(job, trial.start), interrupted):
            step = point.step
            pending.append(point)
            if time.perf_counter() - told > QUIET:
                told = time.perf_counter()
                yield report(Outcome.PROGRESS)
        saved, reason = _pause(job, trial, step, time.perf_counter() - began)
        outcome = Outcome.REACHED if step >= job.stop else Outcome.INTERRUPTED
        yield report(outcome, saved=saved, reason=reason, facts=_facts(trial))
    except Diverged as error:
        yield report(Outcome.DIVERGED, reason=str(error))
    except (torch.OutOfMemoryError, MemoryError):
        yield report(Outcome.DIVERGED, reason=f"out of memory after step {step}")
    except Exception as error:
        # The task is anybody's code: its failure is a result of this trial, not of the worker.
        yield report(Outcome.FAILED, reason=describe(error))


def describe(error: BaseException) -> str:
    """Return an exception as one line for a trial's reason: what, and where in which file."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})" if trace else ""
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text[:500]}{where}"


def _prepare(job: Job, task: Task) -> _Trial:
    """Build the run and its optimizer, at the saved state if there is one."""
    run, optimizer = _build(job, task)
    if job.start == 0:
        return _Trial(run=run, optimizer=optimizer, start=0)
    path = Path(job.checkpoint) if job.checkpoint else None
    if path and checkpoint.restore(path, run.model, optimizer, job.start):
        return _Trial(run=run, optimizer=optimizer, start=job.start)
    # Equal seeds give equal curves: without its state, a trial takes the same steps again.
    run, optimizer = _build(job, task)
    return _Trial(run=run, optimizer=optimizer, start=0)


def _build(job: Job, task: Task) -> tuple[Run, torch.optim.Optimizer]:
    run = task.start(job.seed)
    groups = split(run.model, job.hyper.get("weight_decay", 0.0))
    return run, create(job.optimizer, groups, **job.hyper)


@lru_cache(maxsize=2)
def _task(arguments: str) -> Task:
    """Return the task with its data and libraries loaded; its code may raise."""
    task = resolve(**json.loads(arguments))
    task.start(0)
    return task


def forget() -> None:
    """Drop loaded tasks: a process that begins another search may find other files."""
    _task.cache_clear()


def _course(job: Job, start: int) -> Course:
    return Course(
        start=start,
        stop=job.stop,
        target=job.target,
        warmup=job.warmup,
        evaluate=frozenset(job.evaluate),
        every=max(1, job.target // POINTS),
    )


def _pause(job: Job, trial: _Trial, step: int, seconds: float) -> tuple[bool, str | None]:
    """Save a trial that may go on; say why where it was not saved although it should be."""
    if job.checkpoint is None or step >= job.target:
        return False, None
    if not checkpoint.worth_keeping(trial.run.model, trial.optimizer, seconds):
        return False, None
    try:
        checkpoint.save(Path(job.checkpoint), trial.run.model, trial.optimizer, step)
    except OSError as error:
        return False, f"its state was not saved: {error}"
    return True, None


def _facts(trial: _Trial) -> dict[str, Any]:
    return {"backend": getattr(trial.optimizer, "backend_used", None)}
