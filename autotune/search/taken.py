"""A trial in the hands of a caller's own loop: what it has measured, and what it may say next."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from autotune.errors import SpecError
from autotune.seeds import derive
from autotune.studies.records import Point
from autotune.training.job import Job, Outcome, Report


@dataclass(frozen=True)
class Wait:
    """There is no job now; asking again is useful after so many seconds, or a report."""

    seconds: float


@dataclass(frozen=True)
class Over:
    """There is nothing left to do for this process."""


@dataclass(kw_only=True)
class Taken:
    """A trial that a caller trains.

    Args:
        job: What was asked for.
        number: The trial's number in its study.
        start: The step to train from: the job's where its saved state is there, else 0.
        state: The state that it was saved with at ``start``.
        step: The last step that was measured.
        losses: Loss by step, of those measured since it was asked for.
        saved: Checksum of the state that was saved since then.
        over: Whether nothing is recorded of it any more: it was told, or is another process's.
        told: Whether its caller has ended it.
        leaves: Whether its caller was told to stop before ``job.stop``.
    """

    job: Job
    number: int
    start: int = 0
    state: Any = None
    step: int = 0
    losses: dict[int, float] = field(default_factory=dict)
    saved: str | None = None
    over: bool = False
    told: bool = False
    leaves: bool = False
    thread: int = field(default_factory=threading.get_ident)
    began: float = field(default_factory=time.perf_counter)

    @property
    def who(self) -> str:
        """Return what the trial is called in a sentence."""
        return f"{self.job.optimizer} trial {self.number}"

    @property
    def evaluate(self) -> tuple[int, ...]:
        """Return the steps at which it has to be measured now."""
        first, last = max(self.start, self.job.start), self.job.stop
        return tuple(step for step in self.job.evaluate if first < step <= last)

    def refuse_told(self) -> None:
        """Raise SpecError where the trial was told already."""
        if self.told:
            raise SpecError(f"{self.who} was told already: a trial is told once")

    def saving(self, step: int | None) -> int | None:
        """Return the step of a state to save; None: it needs none. Raises SpecError."""
        job, at = self.job, self.step if step is None else step
        if not 0 <= at <= job.stop:
            raise SpecError(
                f"{self.who} trains until step {job.stop} now (trial.stop), got a state of "
                f"step {at}"
            )
        return at if 0 < at < job.target and not self.over else None

    def check(self, losses: Mapping[int, float], *, to: int | None = None) -> None:
        """Refuse measurements that cannot follow those before; raises SpecError.

        Args:
            losses: Loss by step, in the order in which they are told.
            to: The step that has to be measured as well as those before it.
        """
        last, diverged = self.step, False
        for step, loss in losses.items():
            self._check_step(step, last)
            last, diverged = step, diverged or not math.isfinite(loss)
        missing = [step for step in self.evaluate if step not in {*self.losses, *losses}]
        missing = [step for step in missing if step <= (last if to is None else to)]
        if missing and not diverged:
            after = f"got {', '.join(map(str, losses))}" if losses else "got no loss"
            raise SpecError(
                f"{self.who} has to be measured at {_steps(missing)} as well, {after}: measure it "
                "at every step of trial.evaluate"
            )

    def _check_step(self, step: int, last: int) -> None:
        if step > self.job.stop:
            raise SpecError(
                f"{self.who} trains until step {self.job.stop} now (trial.stop), got a loss of "
                f"step {step}: stop there, it may go on in a later trial of the loop"
            )
        if step <= last:
            after = f"step {last} was the last one measured" if last else "steps count from 1"
            raise SpecError(f"{self.who}: steps of losses have to rise: {after}, got step {step}")

    def measured(self, step: int, loss: float, accuracy: float | None) -> Report:
        """Take a measurement in and return the report of it."""
        self.step = step
        if not math.isfinite(loss):
            reason = f"validation loss became {loss} at step {step}"
            return self.report(Outcome.DIVERGED, reason=reason)
        self.losses[step] = loss
        point = Point(step=step, seconds=self.seconds(), loss=loss, accuracy=accuracy)
        return self.report(Outcome.PROGRESS, point)

    def dropped(self, step: int) -> str:
        """Say that losses from a step on are not recorded: the trial was over before."""
        return (
            f"{self.who} was over at step {self.step}, so its losses from step {step} on are not "
            "recorded; trial.report says at each step of trial.evaluate whether to train on"
        )

    def ended(self) -> Report:
        """Return the report of a loop that has ended by itself."""
        if self.step >= self.job.stop:
            return self.report(Outcome.REACHED)
        if self.leaves:
            return self.report(Outcome.INTERRUPTED)
        last = f"after the loss of step {self.step}" if self.losses else "without a loss"
        reason = f"its loop ended {last}, it has to train until step {self.job.stop} (trial.stop)"
        return self.report(Outcome.FAILED, reason=reason)

    def report(self, outcome: Outcome, *points: Point, reason: str | None = None) -> Report:
        """Return a report of the trial as it stands."""
        return Report(
            trial=self.job.trial,
            attempt=self.job.attempt,
            outcome=outcome,
            step=self.step,
            points=points,
            seconds=self.seconds(),
            reason=reason,
            saved=self.saved is not None,
            checksum=self.saved,
            worker="script",
        )

    def seconds(self) -> float:
        """Return the seconds since the trial was asked for."""
        return time.perf_counter() - self.began


class Source(Protocol):
    """Where a caller's own loop gets its trials, and tells what came of them."""

    def ask(self, patience: float | None = None) -> Taken | Wait | Over:
        """Return the next trial to train; `Wait` after ``patience`` seconds without one."""

    def measured(self, taken: Taken, step: int, loss: float, accuracy: float | None) -> bool:
        """Record a measurement; return whether to train on."""

    def tell(self, taken: Taken, losses: Mapping[int, float]) -> None:
        """Record further measurements and end a trial; raises SpecError where some are missing."""

    def end(self, taken: Taken) -> None:
        """End a trial whose loop has ended by itself."""

    def fail(self, taken: Taken, reason: str, outcome: Outcome = Outcome.FAILED) -> None:
        """End a trial that cannot be trained."""

    def leave(self, taken: Taken) -> None:
        """Give back a trial that its loop left: it is taken again."""

    def save(self, taken: Taken, state: Mapping[str, Any], step: int | None) -> None:
        """Save the state of a trial after ``step`` steps; None: those measured last."""


def identity(search: str, job: Job) -> int:
    """Return a number that identifies which trial a saved state belongs to."""
    setting = [dict(job.setting.hyper), job.setting.warmup]
    what = [search, job.optimizer, setting, job.seed, job.target]
    return derive("own state", json.dumps(what, sort_keys=True))


def _steps(steps: list[int]) -> str:
    text = ", ".join(map(str, steps))
    return f"step {text}" if len(steps) == 1 else f"steps {text}"
