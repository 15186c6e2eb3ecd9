"""Time steps where the trials will run, before the first: as many side by side as will run."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from autotune.engines.base import Engine
from autotune.scheduler.fitting import Cost, slowest
from autotune.scheduler.pace import Pace
from autotune.search.carried import task_arguments
from autotune.seeds import training
from autotune.space.presets import presets_of
from autotune.space.spaces import Space
from autotune.studies.records import Point
from autotune.studies.spec import SearchSpec
from autotune.tasks.function import expected
from autotune.training.job import Job, Outcome, Report

LOOK = 4.0  # seconds in which steps are timed once every job has begun
ROUNDS = 2  # full runs of each slot that are enough, however few seconds they take
EVALUATED = 3  # the step whose evaluation is timed: the first ones compile
POLL = 0.25  # seconds to wait for reports before the clock is looked at
PART = 1 / 4  # of the minutes, after which no first step is waited for any longer
SHORTEST, LONGEST = 15.0, 60.0  # seconds, the least and the most that this part is
LEAVING = 35.0  # seconds that jobs get to end their step, until their workers are killed


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What steps took.

    Args:
        costs: By optimizer; empty where no step was timed.
        slots: How many jobs ran side by side.
        seconds: What timing took.
        trouble: What ended a job too early, if anything did.
        hung: Whether no step ended in time.
    """

    costs: Mapping[str, Cost]
    slots: int
    seconds: float = 0.0
    trouble: str | None = None
    hung: bool = False


def patience(spec: SearchSpec) -> float:
    """Return the seconds after which timing ends, whatever has been timed."""
    minutes = spec.budget.resolved.minutes or 0.0
    return min(LONGEST, max(SHORTEST, PART * 60 * minutes))


def timed(  # noqa: PLR0913  what is timed, where and for how long
    spec: SearchSpec,
    facts: Mapping[str, Any],
    spaces: Mapping[str, Space],
    engine: Engine,
    halt: threading.Event,
    *,
    look: float | None = None,
    limit: float | None = None,
    slots: int | None = None,
) -> Timed:
    """Time steps of each optimizer's default setting; nothing is stored.

    Args:
        spec: The search.
        facts: Facts of its task.
        spaces: Spaces by optimizer.
        engine: Where to time them.
        halt: Set it to stop.
        look: Seconds in which steps are timed once every job has begun; None: ``LOOK``.
        limit: Seconds after which timing ends, whatever was timed; None: ``patience`` says it.
        slots: How many jobs run side by side; None: as many as the engine takes.

    Raises:
        KeyboardInterrupt: ``halt`` was set.
    """
    began, limit = time.monotonic(), patience(spec) if limit is None else limit
    jobs = list(_jobs(spec, facts, spaces, slots or engine.slots))
    watch = _Watch(jobs, LOOK if look is None else look)
    for job in jobs:
        engine.submit(job)
    asked: float | None = None
    while watch.busy:
        now = time.monotonic()
        for report in engine.reports(POLL):
            again = watch.take(report, over=halt.is_set() or now > began + limit)
            if again is not None:
                engine.submit(again)
        now = time.monotonic()
        if asked is None and (halt.is_set() or watch.enough() or now > began + limit):
            asked = now
            engine.interrupt()
        elif asked is not None and now > asked + LEAVING:
            engine.kill()
            engine.reports(0.0)
            break
    if halt.is_set():
        raise KeyboardInterrupt
    return replace(watch.found(spec.optimizers), seconds=time.monotonic() - began)


def _jobs(
    spec: SearchSpec, facts: Mapping[str, Any], spaces: Mapping[str, Space], slots: int
) -> Iterator[Job]:
    """Yield a job for each slot, of each optimizer in turn; the store knows none of them."""
    steps = int(facts["steps"])
    for place in range(slots):
        optimizer = spec.optimizers[place % len(spec.optimizers)]
        yield Job(
            trial=-1 - place,
            attempt=1,
            task=task_arguments(spec, facts),
            optimizer=optimizer,
            setting=presets_of(optimizer, spaces[optimizer])[0].setting,
            seed=training(spec.seed, 0),
            start=0,
            stop=steps,
            target=steps,
            evaluate=(min(EVALUATED, steps),),
            content=expected(facts),
        )


@dataclass(kw_only=True)
class _Slot:
    """What is known of the job in a slot, and of those before it."""

    job: Job
    last: Point | None = None  # of the job that runs
    evaluated: bool = False  # whether an evaluation was timed
    rounds: int = 0  # full runs that ended


@dataclass
class _Watch:
    """Reads reports until steps and an evaluation of each slot were timed beside the others."""

    jobs: list[Job]
    look: float
    trouble: str | None = None
    paces: dict[str, Pace] = field(default_factory=lambda: defaultdict(Pace))
    alone: dict[str, Pace] = field(default_factory=lambda: defaultdict(Pace))
    setups: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.slots = {job.trial: _Slot(job=job) for job in self.jobs}
        self.busy = set(self.slots)
        self.beside: float | None = None  # when the last job had begun

    def take(self, report: Report, *, over: bool) -> Job | None:
        """Read a report; return what its slot runs next, unless nothing is to begin any more."""
        slot = self.slots[report.trial]
        beside = self.beside is not None
        for point in report.points:
            self._time(slot, point, beside=beside)
        if self.beside is None and all(each.last for each in self.slots.values()):
            self.beside = time.monotonic()
        if report.outcome is Outcome.PROGRESS:
            return None
        self.busy.discard(report.trial)
        # What a process does once, it does in its first job.
        if slot.last is not None and slot.job.attempt > 1:
            setup = max(0.0, report.seconds - slot.last.seconds)
            self.setups[slot.job.optimizer].append(setup)
        found = None if over else self._next(slot, report)
        if found is not None:
            slot.job = found
            self.busy.add(report.trial)
        return found

    def _time(self, slot: _Slot, point: Point, *, beside: bool) -> None:
        """Add a stretch of steps; what comes before a job's first point compiles and loads."""
        last, slot.last = slot.last, point
        if last is None or point.step <= last.step:
            return
        evaluated = point.loss is not None
        slot.evaluated |= evaluated
        paces = self.paces if beside else self.alone
        seconds = point.seconds - last.seconds
        paces[slot.job.optimizer].add(seconds, point.step - last.step, evaluated=evaluated)

    def _next(self, slot: _Slot, report: Report) -> Job | None:
        """Return the same job once more, or a step of it that shows what a start takes."""
        if report.outcome not in {Outcome.REACHED, Outcome.INTERRUPTED}:
            self.trouble = self.trouble or report.reason or report.outcome
            return None
        slot.rounds += report.step == slot.job.target
        job = replace(slot.job, attempt=slot.job.attempt + 1)
        if not self.enough() and report.outcome is Outcome.REACHED:
            return job
        return None if self.setups[job.optimizer] else replace(job, stop=1, evaluate=())

    def enough(self) -> bool:
        """Return whether all that runs was timed beside the rest."""
        if self.beside is None or not all(each.evaluated for each in self.slots.values()):
            return False
        looked = time.monotonic() - self.beside > self.look
        return looked or all(each.rounds >= ROUNDS for each in self.slots.values())

    def found(self, optimizers: tuple[str, ...]) -> Timed:
        """Return the costs; an optimizer that had no slot is as slow as the slowest that had."""
        costs = {name: cost for name in optimizers if (cost := self._cost(name)) is not None}
        if costs:
            rest = slowest(costs.values())
            costs = {name: costs.get(name, rest) for name in optimizers}
        hung = not costs and not self.trouble
        return Timed(costs=costs, slots=len(self.slots), trouble=self.trouble, hung=hung)

    def _cost(self, optimizer: str) -> Cost | None:
        pace, alone = self.paces[optimizer], self.alone[optimizer]
        if not pace.plain:
            pace.plain.extend(alone.plain)
        pace.evaluated.extend(alone.evaluated)
        step, both = pace.run(1, 0), pace.run(1, 1)
        if step is None or both is None:
            return None
        setups = self.setups[optimizer]
        return Cost(step=step, evaluation=both - step, setup=min(setups, default=0.0))
