"""An engine that replays recorded trials: losses come from a table, and time is simulated."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from autotune.bench.search.grid import Ground
from autotune.errors import SpecError
from autotune.studies.records import Point
from autotune.training.job import Job, Outcome, Report


@dataclass(kw_only=True)
class _Running:
    job: Job
    began: float
    coming: deque[Report]  # each is due after its ``seconds``

    @property
    def due(self) -> float:
        """Return when its next report is due."""
        return self.began + self.coming[0].seconds


class Simulated:
    """Jobs that read recorded curves, on a simulated clock that counts full runs.

    Args:
        workers: Jobs that run at the same time.
        ground: The recorded runs.
        seeds: Recorded seed for each seed of a job.
    """

    def __init__(
        self,
        workers: int,
        ground: Ground,
        seeds: Mapping[int, int],
    ) -> None:
        self.slots = workers
        self.clock = 0.0
        self._ground = ground
        self._seeds = dict(seeds)
        self._running: list[_Running] = []

    def submit(self, job: Job) -> None:
        """Take a job; it ends when the clock reaches its end."""
        coming = deque(self._reports(job))
        self._running.append(_Running(job=job, began=self.clock, coming=coming))

    def reports(self, timeout: float) -> list[Report]:
        """Move the clock to the next report, and return it."""
        if not self._running:
            return []
        # Of two reports at the same time, the job that was submitted first comes first.
        running = min(self._running, key=lambda one: one.due)
        self.clock = max(self.clock, running.due)
        report = running.coming.popleft()
        if not running.coming:
            self._running.remove(running)
        return [report]

    def interrupt(self, trial: int | None = None) -> None:
        """End jobs at the step they are in."""
        for running in self._running:
            if trial in (None, running.job.trial):
                running.coming = deque([self._interrupted(running)])

    def kill(self, trial: int | None = None) -> None:
        """Do nothing: between two calls of ``reports`` nothing runs that could be killed."""

    def close(self) -> None:
        """Forget all jobs."""
        self._running.clear()

    def _interrupted(self, running: _Running) -> Report:
        job, seconds = running.job, self.clock - running.began
        step = min(job.start + int(seconds * job.target), job.stop)
        return _report(job, Outcome.INTERRUPTED, step=step, seconds=seconds)

    def _reports(self, job: Job) -> Iterator[Report]:
        """Yield the reports of a job, with the seconds until each."""
        table = self._ground.table
        wrong = {job.stop, job.target, *job.evaluate} - set(table.rungs)
        if wrong:
            raise SpecError(
                f"{table.name} was measured at steps {', '.join(map(str, table.rungs))}, "
                f"not at {', '.join(map(str, sorted(wrong)))}"
            )
        if job.seed not in self._seeds:
            reason = f"{table.name} holds no run of the seed {job.seed}"
            yield _report(job, Outcome.FAILED, step=job.start, reason=reason)
            return
        number = self._ground.number(job.setting.hyper)
        for step, loss in table.curve(self._seeds[job.seed], number):
            if step <= job.stop and (step > job.start or math.isinf(loss)):
                yield _measured(job, step, loss)


def _measured(job: Job, step: int, loss: float) -> Report:
    seconds = max(0, step - job.start) / job.target
    if math.isinf(loss):
        reason = f"validation loss was inf at step {step}"
        return _report(job, Outcome.DIVERGED, step=step, seconds=seconds, reason=reason)
    outcome = Outcome.REACHED if step == job.stop else Outcome.PROGRESS
    return _report(job, outcome, step=step, seconds=seconds, loss=loss)


def _report(
    job: Job,
    outcome: Outcome,
    *,
    step: int,
    seconds: float = 0.0,
    reason: str | None = None,
    loss: float | None = None,
) -> Report:
    points = () if loss is None else (Point(step=step, seconds=seconds, loss=loss),)
    return Report(
        trial=job.trial,
        attempt=job.attempt,
        outcome=outcome,
        step=step,
        points=points,
        seconds=seconds,
        reason=reason,
        saved=outcome in {Outcome.REACHED, Outcome.INTERRUPTED},
        worker="simulated",
    )
