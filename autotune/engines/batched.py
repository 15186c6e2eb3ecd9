"""Run many trials of a small model at once in this process: each step trains a batch of trials.

The trials of a batch start and stop at the same steps. At a rung they separate, and those that
continue form new batches. The task gives the largest batch, which was measured.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import torch
from torch import Tensor

from autotune.devices import sticky
from autotune.errors import SpecError, ends_process
from autotune.optimizers.registry import stacks
from autotune.optimizers.stacked import alike
from autotune.studies.records import Gradient, Point
from autotune.tasks.base import Measurement, Task
from autotune.tasks.replicas import batchable
from autotune.tasks.supervised import Supervised
from autotune.training.ahead import LOOK
from autotune.training.job import FIRST, Job, Outcome, Report, empty_report
from autotune.training.loading import exactly, forget, task_of
from autotune.training.memory import release
from autotune.training.norms import ORDERS, of_steps
from autotune.training.process import single_threaded
from autotune.training.runner import (
    Prepared,
    every,
    facts,
    pause,
    prepare,
)
from autotune.training.side_by_side import Member, SideBySide
from autotune.training.steps import Diverged, finite
from autotune.training.verdict import describe, explained, out_of_memory, spoilt, verdict

WORKER = "batched"
QUIET = 2.0  # seconds between progress reports: each costs a transaction


class Batched:
    """Train many trials of a small model in one batch, in this process; for mlp and gpt-pico.

    Batches take turns while ``reports`` is called, the fullest first, so that the others can fill.
    """

    def __init__(self, workers: int = 1) -> None:
        forget()
        self._threads = torch.get_num_threads()
        single_threaded()
        self.slots = workers
        self._waiting: list[Job] = []
        self._parts: list[_Part] = []  # of the running batch
        self._most: int | None = None  # jobs of a batch, where memory has been too little
        self._unread: list[Report] = []
        self._exactly = ExitStack()  # what holds from the first batch on

    @staticmethod
    def check(task: Task) -> None:
        """Refuse a task whose model cannot be trained as many replicas at once."""
        batchable(task)

    @staticmethod
    def check_optimizers(names: Iterable[str]) -> None:
        """Refuse an optimizer that cannot step many replicas at once."""
        for name in names:
            if not stacks(name):
                raise SpecError(
                    f"engine 'batched' steps many replicas by a rule of this package alone, got "
                    f"{name}, whose own step does more; run it on the engine 'processes'"
                )

    def submit(self, job: Job) -> None:
        """Take a job; it starts when reports are read and its batch is next."""
        self._waiting.append(job)

    def reports(self, timeout: float) -> list[Report]:
        """Advance a batch until there is a report or the time is up."""
        deadline = time.monotonic() + timeout
        while not self._unread and (self._parts or self._waiting):
            self._advance()
            if time.monotonic() > deadline:
                break
        told, self._unread = self._unread, []
        return told

    def interrupt(self, trial: int | None = None) -> None:
        """Ask a trial's job, or every job, to save and stop after the step it is in."""
        for job in [job for job in self._waiting if trial in (None, job.trial)]:
            self._waiting.remove(job)
            self._unread.append(empty_report(job, Outcome.INTERRUPTED, worker=WORKER))
        for lane in [lane for part in self._parts for lane in part.lanes]:
            lane.interrupted |= trial in (None, lane.job.trial)

    def kill(self, trial: int | None = None) -> None:
        """Do nothing: between two calls of ``reports`` nothing runs that could be killed."""

    def close(self) -> None:
        """Restore the process's number of threads, and how it rounds."""
        self._exactly.close()
        torch.set_num_threads(self._threads)
        torch.set_flush_denormal(False)

    def _advance(self) -> None:
        """Start a batch, or take a step of the running one; errors become reports."""
        lanes = self._parts[0].lanes if self._parts else self._fullest()
        try:
            if self._parts:
                self._unread += self._parts[0].advance()
            else:
                self._parts = self._started(lanes)
        except BaseException as error:
            if ends_process(error):
                raise
            if sticky(error):
                raise spoilt(describe(error)) from error
            # As in a single run: the failure is a result of these trials, not of the engine.
            self._fail(lanes, error)
            lanes.clear()
        self._parts = [part for part in self._parts if part.lanes]
        if not lanes:
            release()  # only now nothing holds the error, and with it the frames with tensors

    def _fail(self, lanes: Sequence[_Lane], error: BaseException) -> None:
        """Report jobs whose batch raised; one that needs too much memory is split in halves."""
        if out_of_memory(error) and len(lanes) > 1:
            self._most = len(lanes) // 2
            self._waiting[:0] = [lane.job for lane in lanes if not lane.interrupted]
            stopped = [lane.job for lane in lanes if lane.interrupted]
            ends = [empty_report(job, Outcome.INTERRUPTED, worker=WORKER) for job in stopped]
            self._unread += ends
            return
        step = self._parts[0].step if self._parts else 0
        for job in [lane.job for lane in lanes]:
            failed = empty_report(job, *verdict(error, job.start), worker=WORKER)
            measured = any(at <= step for at in job.evaluate)
            self._unread.append(explained(failed, error, job, measured=measured))

    def _started(self, lanes: Sequence[_Lane]) -> list[_Part]:
        self._exactly.close()
        self._exactly.enter_context(exactly(task_of(lanes[0].job)))
        return _parts(lanes)

    def _fullest(self) -> list[_Lane]:
        """Return the largest batch of waiting jobs; of equal ones, the oldest."""
        groups: dict[str, list[Job]] = {}
        for job in self._waiting:
            groups.setdefault(_kind(job), []).append(job)
        jobs = max(groups.values(), key=len)
        with suppress(Exception):  # a task that cannot be had is told of where the batch begins
            jobs = jobs[: batchable(task_of(jobs[0])).runs_at_once]
        jobs = jobs[: self._most]
        self._waiting = [job for job in self._waiting if job not in jobs]
        return [_Lane(job) for job in jobs]


def _kind(job: Job) -> str:
    """Return what must be equal for the jobs of a batch."""
    span = [job.start, job.stop, job.target, job.evaluate, job.norms]
    return json.dumps([dict(job.task), job.optimizer, span], sort_keys=True)


class _Lane:
    """A job in a batch, with its points that are not yet reported."""

    def __init__(self, job: Job) -> None:
        self.job, self.interrupted = job, False
        self.repeats: str | None = None  # why it repeats steps
        self.points: list[Point] = []
        self.gradients: list[Gradient] = []
        self.facts: dict[str, Any] = {}  # its own, beside those of its part


def _parts(lanes: Sequence[_Lane]) -> list[_Part]:
    """Group lanes that can be trained as one: same arguments of the optimizer, same first step."""
    task = batchable(task_of(lanes[0].job))
    trials = [prepare(lane.job, task) if lane.job.start else None for lane in lanes]
    starts = [trial.start if trial else 0 for trial in trials]
    parts = []
    for members in alike(lanes[0].job.optimizer, [lane.job.setting.hyper for lane in lanes]):
        for start in sorted({starts[k] for k in members}):
            chosen = [k for k in members if starts[k] == start]
            found = [(lanes[k], trials[k]) for k in chosen]
            parts.append(_Part(task, start, found))
    return parts


class _Part:
    """Lanes that are trained as one."""

    def __init__(
        self, task: Supervised, start: int, found: Sequence[tuple[_Lane, Prepared | None]]
    ) -> None:
        self.lanes = [lane for lane, _ in found]
        self.places = dict(zip(self.lanes, range(len(found)), strict=True))
        jobs = [lane.job for lane in self.lanes]
        members = [Member(setting=j.setting, seed=j.seed, table=j.schedule) for j in jobs]
        self.runs = SideBySide(task, jobs[0].optimizer, members)
        self.runs.measures = jobs[0].norms
        for k, (_, trial) in enumerate(found):
            if trial:
                self.lanes[k].repeats = trial.repeats
            if trial and start:
                self.runs.load(k, trial.run.model, trial.optimizer)
        self.start = self.step = start
        self.device, self._unread = task.device, list[Tensor]()  # losses of the last steps
        self.facts = facts(self.runs.optimizer.rows[0], task.device)
        self._began = self._said = time.perf_counter()

    def advance(self) -> list[Report]:
        """Take a step, and return the reports of the steps whose losses are read."""
        self._unread.append(self.runs.step(self.step))
        newest = self.step + 1
        measures = newest in self.lanes[0].job.evaluate
        if not (measures or self._due(newest)):
            self.step = newest
            return []
        count = len(self.places)
        numbers = self.device.numbers(self._unread)
        rows = [numbers[at : at + count] for at in range(0, len(numbers), count)]
        measured = self.runs.evaluate() if measures else []
        self._unread = []
        self._read_norms()
        told: list[Report] = []
        for self.step, losses in enumerate(rows, newest - len(rows) + 1):
            if self.lanes:
                told += self._told(losses, measured if self.step == newest else [], newest)
        self.step = newest
        return told

    def _read_norms(self) -> None:
        """Keep the norms of the steps since the last time, by lane."""
        numbers, wide = self.device.numbers(self.runs.norms), len(ORDERS)
        for lane in self.lanes if numbers else ():
            first = wide * self.places[lane]
            starts = range(first, len(numbers), wide * len(self.places))
            lane.gradients += of_steps(
                [n for at in starts for n in numbers[at : at + wide]], self.step
            )
        self.runs.norms.clear()

    def _due(self, step: int) -> bool:
        """Return whether losses are to be read: on the CPU, where it is free, after each step."""
        last = step == self.lanes[0].job.stop or any(lane.interrupted for lane in self.lanes)
        return last or not self.device.waits or len(self._unread) == LOOK

    def _told(
        self, losses: Sequence[float], measured: Sequence[Measurement], newest: int
    ) -> list[Report]:
        """Return the reports of the lanes after a step, and leave those that are over."""
        told = [
            report
            for lane in self.lanes
            if (report := self._tell(lane, losses, measured, newest)) is not None
        ]
        if self._loud():
            self._said = time.perf_counter()
        over = {report.trial for report in told if report.outcome is not Outcome.PROGRESS}
        self.lanes = [lane for lane in self.lanes if lane.job.trial not in over]
        return told

    def _tell(
        self, lane: _Lane, losses: Sequence[float], measured: Sequence[Measurement], newest: int
    ) -> Report | None:
        """Store what a lane measured and return its report, if one is due."""
        k = self.places[lane]
        try:
            self._measure(lane, losses[k], measured[k] if measured else None, newest)
        except Diverged as diverged:
            return self._report(lane, Outcome.DIVERGED, reason=str(diverged))
        if self._ends(lane, newest):
            return self._end(lane)
        loud = lane.points and self._loud()
        return self._report(lane, Outcome.PROGRESS) if loud else None

    def _loud(self) -> bool:
        return time.perf_counter() - self._said > QUIET

    def _ends(self, lane: _Lane, newest: int) -> bool:
        """Return whether a lane ends with this step, after which no other was taken."""
        return self.step == newest and (newest == lane.job.stop or lane.interrupted)

    def _measure(self, lane: _Lane, loss: float, found: Measurement | None, newest: int) -> None:
        """Add a point if one is due; raises Diverged."""
        finite(loss, "training", self.step)
        if found:
            finite(found.loss, "validation", self.step)
        if self.step == 1:
            lane.facts[FIRST] = self.runs.replicas.first(self.places[lane])
        last = self._ends(lane, newest)
        if self.step == 1 or found or last or self.step % every(lane.job) == 0:
            lane.points.append(
                Point(
                    step=self.step,
                    seconds=self._seconds(),
                    train_loss=loss,
                    loss=found.loss if found else None,
                    accuracy=found.accuracy if found else None,
                )
            )

    def _end(self, lane: _Lane) -> Report:
        """Save a lane that may continue, and report that its job is over."""
        k, job = self.places[lane], lane.job
        # Its part of the time, which training it again would take.
        whole = self._seconds() / len(self.places) * self.step / max(1, self.step - self.start)
        self.runs.rest()
        model, optimizer = self.runs.replicas.model(k), self.runs.optimizer.rows[k]
        saved = pause(job, model, optimizer, self.step, whole)
        outcome = Outcome.REACHED if self.step >= job.stop else Outcome.INTERRUPTED
        reason = "; ".join(filter(None, [lane.repeats, saved.problem])) or None
        return self._report(lane, outcome, checksum=saved.checksum, reason=reason)

    def _report(
        self,
        lane: _Lane,
        outcome: Outcome,
        *,
        checksum: str | None = None,
        reason: str | None = None,
    ) -> Report:
        """Return a report with all points that are not yet reported."""
        points, lane.points = tuple(lane.points), []
        gradients, lane.gradients = tuple(lane.gradients), []
        return Report(
            trial=lane.job.trial,
            attempt=lane.job.attempt,
            outcome=outcome,
            step=self.step,
            points=points,
            seconds=self._seconds(),
            reason=reason,
            saved=checksum is not None,
            checksum=checksum,
            worker=WORKER,
            facts={**self.facts, **lane.facts},
            gradients=gradients,
        )

    def _seconds(self) -> float:
        return time.perf_counter() - self._began
