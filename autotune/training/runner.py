"""Run one job, from its start to its last report: the work of a worker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autotune.devices import CPU, Device
from autotune.errors import ends_process
from autotune.seeds import derive
from autotune.studies.records import Point
from autotune.tasks.base import OwnLoop, Run, Task, trains_itself
from autotune.tasks.surroundings import Surroundings
from autotune.training import checkpoint, foreign, paused
from autotune.training.captured import sending
from autotune.training.job import FIRST, Job, Outcome, Report
from autotune.training.loading import build, exactly, read_to_its_end, task_of
from autotune.training.loop import train
from autotune.training.measures import Measures
from autotune.training.memory import release
from autotune.training.own_loop import Course
from autotune.training.pulse import Phase, Pulse, silent
from autotune.training.steps import Segment
from autotune.training.verdict import explained, out_of_memory, verdict

POINTS = 40  # points of the training loss on a full curve
QUIET = 0.5  # seconds between progress reports: each costs a transaction


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run with its optimizer and the steps taken so far."""

    run: Run
    optimizer: torch.optim.Optimizer
    start: int
    repeats: str | None = None  # why steps are repeated, if they are


@dataclass(frozen=True, kw_only=True)
class Saved:
    """The result of saving a trial: a checksum, or a problem."""

    checksum: str | None = None
    problem: str | None = None


def perform(
    job: Job,
    interrupted: Callable[[], bool],
    worker: str = "",
    pulse: Pulse = silent,
    *,
    keep: bool = True,
) -> Iterator[Report]:
    """Run a job, yielding a report at every measurement and one when it is over.

    Whatever the task raises becomes a report, SystemExit too: DIVERGED for a NaN or infinite loss
    and for out of memory, LOST for an error that spoils this process, FAILED for anything else.
    Only what ends this process is raised. What the user's code changes of the process holds while
    it runs, not between two reports.

    ``keep``: whether this process keeps the training of a user's own loop that pauses, until
    ``paused.close_all`` is called.
    """
    running = _Running(job, worker, pulse, interrupted, keep=keep)
    yield from Surroundings().stepwise(_perform(running))


def _perform(running: _Running) -> Iterator[Report]:
    reports = running.run()
    while True:
        try:
            report = next(reports, None)
        except BaseException as error:
            # The task is the user's code: its failure is a result of the trial, not of the worker.
            if error is running.ending or ends_process(error):
                raise
            failed = running.failure(error)
            break
        if report is None:
            return
        yield report
    # Only now nothing holds the error, and with it the frames that hold model and optimizer.
    if not failed.spoilt:
        release()
    yield failed


class _Running:
    """A running job, with its points that are not yet reported."""

    def __init__(
        self,
        job: Job,
        worker: str,
        pulse: Pulse,
        interrupted: Callable[[], bool],
        *,
        keep: bool,
    ) -> None:
        self.job, self.worker, self.pulse, self.keep = job, worker, pulse, keep
        self.ending: BaseException | None = None  # raised where it was asked whether to stop
        self._interrupted = interrupted
        self.step = job.start
        self._began = time.perf_counter()
        self._points: list[Point] = []
        self._measured = False  # whether a validation loss was
        self._facts: dict[str, Any] = {}
        self._measures: Measures | None = None

    def interrupted(self) -> bool:
        """Return whether to stop; raises if there is nobody to go on for."""
        try:
            return self._interrupted()
        except BaseException as error:
            self.ending = error
            raise

    def run(self) -> Iterator[Report]:
        """Train and save; raises what the task raises."""
        job = self.job
        self.pulse(Phase.START)
        task = task_of(job)
        self._began = time.perf_counter()  # loading a task is not a trial's time
        if trains_itself(task):
            yield from self._follow(task)
            return
        with exactly(task):
            yield from self._train(task)

    def _follow(self, loop: OwnLoop) -> Iterator[Report]:
        """Run a loop of the user's own, once more where paused trainings had taken its memory."""
        try:
            yield from self._course(loop)
            return
        except Exception as error:
            if not (out_of_memory(error) and paused.count()):
                raise
        # Only now nothing holds the error, and with it the frames that hold model and optimizer.
        paused.close_all()
        release()
        yield from self._course(loop)

    def _course(self, loop: OwnLoop) -> Iterator[Report]:
        told = self._began
        course = Course(self.job, loop, _identity(self.job), keep=self.keep)
        self.step = self.job.start
        for point in course.points(self.interrupted, self.pulse):
            self.step, self._measured = point.step, True
            self._facts = facts(course.optimizer, getattr(loop, "device", CPU))
            self._points.append(point)
            if time.perf_counter() - told > QUIET:
                told = time.perf_counter()
                yield self.report(Outcome.PROGRESS)
        try:
            self.interrupted()  # raises if nobody would record what follows
        except BaseException:
            course.close()
            raise
        self.pulse(Phase.SAVING)
        checksum = course.end()
        self.step = course.step
        outcome = Outcome.REACHED if course.reached else Outcome.INTERRUPTED
        report = self.report(outcome, checksum=checksum, reason="; ".join(course.notes) or None)
        yield replace(report, kept=course.kept)

    def _train(self, task: Task) -> Iterator[Report]:
        trial, device = prepare(self.job, task), getattr(task, "device", CPU)
        own = (trial.run, trial.optimizer, trial.start)
        # A user's problem looks at a batch to tell the size, which only noise needs.
        batch = task.batch_size if self.job.noise else None
        self._measures = Measures(self.job, *own, batch, device)
        with read_to_its_end(trial.run):
            yield from self._steps(trial, self._measures, device)

    def _steps(self, trial: Prepared, measures: Measures, device: Device) -> Iterator[Report]:
        job, told = self.job, self._began
        self._facts = facts(trial.optimizer, device)
        how = (self.interrupted, self.pulse, device)
        for point in train(trial.run, trial.optimizer, _segment(job, trial.start), *how):
            self.step = point.step
            self._facts |= sending(trial.run)
            self._measured = self._measured or point.loss is not None
            self._points.append(point)
            if point.step == 1:
                self._facts[FIRST] = getattr(trial.run, "first", {})
            if time.perf_counter() - told > QUIET:
                told = time.perf_counter()
                yield self.report(Outcome.PROGRESS)
        # Called once more because it raises if the coordinator is gone: nobody would record the new
        # checkpoint then, so the recorded one must stay.
        self.interrupted()
        self.pulse(Phase.SAVING)
        whole = self._seconds() * self.step / max(1, self.step - trial.start)
        data = getattr(trial.run, "data_state", lambda: None)()
        saved = pause(job, trial.run.model, trial.optimizer, self.step, whole, data)
        outcome = Outcome.REACHED if self.step >= job.stop else Outcome.INTERRUPTED
        reasons = filter(None, (trial.repeats, saved.problem, measures.missing))
        yield self.report(outcome, checksum=saved.checksum, reason="; ".join(reasons) or None)

    def failure(self, error: BaseException) -> Report:
        """Return the report of a job whose task raised."""
        outcome, reason = verdict(error, self.step)
        failed = self.report(outcome, reason=reason)
        return explained(failed, error, self.job, measured=self._measured)

    def report(
        self,
        outcome: Outcome,
        *,
        checksum: str | None = None,
        reason: str | None = None,
    ) -> Report:
        """Return a report with all points that are not yet reported."""
        points, self._points = tuple(self._points), []
        return Report(
            trial=self.job.trial,
            attempt=self.job.attempt,
            outcome=outcome,
            step=self.step,
            points=points,
            seconds=self._seconds(),
            reason=reason,
            saved=checksum is not None,
            checksum=checksum,
            worker=self.worker,
            facts=self._facts,
            gradients=self._measures.read() if self._measures else (),
        )

    def _seconds(self) -> float:
        return time.perf_counter() - self._began


def prepare(job: Job, task: Task) -> Prepared:
    """Build the run and its optimizer, and load the last checkpoint if there is one."""
    run, optimizer = build(task, job.optimizer, job.setting.hyper, job.seed)
    source = job.resume or job.checkpoint
    repeats = None
    if job.start and source:
        found = checkpoint.restore(
            Path(source),
            run.model,
            optimizer,
            job.start,
            _identity(job),
            job.checksum,
            getattr(run, "load_data", None),
        )
        if found is not None:
            return Prepared(run=run, optimizer=optimizer, start=found)
        run, optimizer = build(task, job.optimizer, job.setting.hyper, job.seed)
        repeats = checkpoint.missing(Path(source), job.start) if job.resume else None
    # Equal seeds give equal curves, so without a checkpoint the trial repeats its steps.
    return Prepared(run=run, optimizer=optimizer, start=0, repeats=repeats)


def _identity(job: Job) -> int:
    """Return a number that identifies which trial a checkpoint belongs to."""
    hyper, warmup = dict(job.setting.hyper), job.setting.warmup
    what: list[Any] = [dict(job.task), job.optimizer, hyper, warmup, job.seed, job.target]
    what += [job.schedule] if job.schedule else []
    return derive("state", json.dumps(what, sort_keys=True))


def _segment(job: Job, start: int) -> Segment:
    return Segment(
        start=start,
        stop=job.stop,
        target=job.target,
        warmup=job.setting.warmup,
        evaluate=frozenset(job.evaluate),
        every=every(job),
        table=job.schedule,
    )


def every(job: Job) -> int:
    """Return the steps between points of the training loss."""
    return max(1, job.target // POINTS)


def pause(
    job: Job,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    seconds: float,
    data: Mapping[str, Any] | None = None,
) -> Saved:
    """Save a trial that may continue; the result tells if that failed.

    It is not saved if training it again, which takes ``seconds``, is faster. ``data``: where its
    batches are read.
    """
    if job.checkpoint is None or step >= job.target:
        return Saved()
    if problem := foreign.unsaved(job.optimizer):
        return Saved(problem=problem)
    if not checkpoint.worth_keeping(model, optimizer, seconds):
        return Saved()
    path = Path(job.checkpoint)
    try:
        found = checkpoint.save(path, model, optimizer, step, _identity(job), data)
    except OSError as error:
        return Saved(problem=f"its checkpoint was not saved: {error}")
    return Saved(checksum=found)


def facts(optimizer: torch.optim.Optimizer | None, device: Device) -> dict[str, Any]:
    """Return facts about how this process trains."""
    return {"backend": getattr(optimizer, "backend_used", None), **device.facts()}
