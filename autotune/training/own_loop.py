"""Follow a loop of the user's own through one job: what it measures becomes points of a curve.

A job ends at the first measurement at or after its stop. A rung that lies between two measurements
has the loss of the first one after it, as in ASHA where trials report when they like: it gets a
point of its own, so that all who read curves find it. The last measurement must be at the last
step. A training is paused by asking nothing of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from autotune.devices import CPU
from autotune.studies.records import Point
from autotune.tasks.base import Assignment, BadMeasurement, Measured, OwnLoop, label
from autotune.tasks.rehearsal import SLACK
from autotune.training import checkpoint, own_state, paused
from autotune.training.building import Builder
from autotune.training.job import Job
from autotune.training.paused import Held
from autotune.training.pulse import Phase, Pulse
from autotune.training.steps import finite


class Course:
    """One job of a training that runs itself.

    Args:
        job: The job.
        loop: Its task.
        identity: Of the trial: what its training is kept by, and what its saved state holds.
        keep: Whether this process keeps the training while it is paused.

    Attributes:
        step: The step that the trial has reached: a rung where the job reached its stop.
        kept: Whether this process keeps the training.
        notes: What the user should know of it.
    """

    def __init__(self, job: Job, loop: OwnLoop, identity: int, *, keep: bool) -> None:
        self.job, self._loop, self._identity, self._keep = job, loop, identity, keep
        self.step = job.start
        self.kept = False
        self.notes: list[str] = []
        found = paused.take((job.trial, identity))
        self._went_on = found is not None
        self._held = found or self._begin()

    @property
    def optimizer(self) -> Optimizer | None:
        """Return the optimizer that it trains with; None if it has built none by our means."""
        built = self._held.builder.built
        return built[-1].optimizer if built else None

    @property
    def reached(self) -> bool:
        """Return whether the job's stop is reached."""
        return self._held.step >= self.job.stop

    def points(self, interrupted: Callable[[], bool], pulse: Pulse) -> Iterator[Point]:
        """Yield points until the job is over; raises what the user's code raises."""
        began = time.perf_counter() - self._held.seconds
        try:
            yield from self._known()
            if self._went_on:
                self._held.training.resume()
            while not self.reached:
                pulse(Phase.LOOP)
                measured = self._held.training.advance(interrupted)
                if measured is None:
                    break
                before, seconds = self._held.seconds, time.perf_counter() - began
                self._held.seconds = seconds
                yield from self._take(measured, before)
                if interrupted():
                    break
        except BaseException:
            self.close()
            raise
        self.step = max(self.step, self._stands())

    def end(self) -> str | None:
        """Save and pause the training where its trial may go on, else close it.

        Returns the checksum of the file that was saved.
        """
        if self._held.step >= self.job.target:
            self.close()
            return None
        saved = self._save()
        if self._keep:
            self._held.training.pause()
            self.notes += paused.keep((self.job.trial, self._identity), self._held)
            self.kept = True
        else:
            self.close()
        return saved

    def _save(self) -> str | None:
        if self.job.checkpoint is None:
            return None
        try:
            return own_state.save(Path(self.job.checkpoint), self._held, self._identity)
        except OSError as error:
            self.notes.append(f"its checkpoint was not saved: {error}")
            return None

    def _stored(self) -> Mapping[str, Any]:
        """Return the saved state that the job goes on from; empty where there is none."""
        job = self.job
        source = job.resume or job.checkpoint
        if not job.start or source is None:
            return {}
        found = own_state.load(Path(source), self._identity, job.checksum)
        if found is None and job.resume:
            self.notes.append(checkpoint.missing(Path(source), job.start))
        return found or {}

    def _begin(self) -> Held:
        job, setting, stored = self.job, self.job.setting, self._stored()
        builder = Builder(job.optimizer, setting.hyper, setting.warmup, job.target, stored)
        measured = own_state.measured(stored)
        assignment = Assignment(
            trial=job.trial,
            label=label(job.optimizer, job.trial),
            build=builder,
            seed=job.seed,
            steps=job.target,
            start=measured[-1].step if measured else 0,
            evaluate=job.evaluate,
            device=getattr(self._loop, "device", CPU),
            folder=Path(job.checkpoint).parent if job.checkpoint else None,
        )
        training, seconds = self._loop.begin(assignment), stored.get("seconds", 0.0)
        return Held(training=training, builder=builder, measured=measured, seconds=seconds)

    def close(self) -> None:
        """End the training for good."""
        said = self._held.training.close()
        if said:
            self.notes.append(said)

    def _known(self) -> Iterator[Point]:
        """Yield what a kept training has measured beyond the start of the job."""
        seconds, before = self._held.seconds, 0
        for one in self._held.measured:
            told = self._told(one, before, seconds, seconds)
            yield from (point for point in told if point.step > self.job.start)
            before = one.step

    def _take(self, measured: Measured, since: float) -> Iterator[Point]:
        """Check a measurement, remember it and yield its points."""
        before = self._held.step
        self._check(measured, before)
        self._held.measured.append(measured)
        yield from self._told(measured, before, since, self._held.seconds)

    def _check(self, measured: Measured, before: int) -> None:
        step, (loss, accuracy) = measured.step, _numbers(measured)
        if self._held.measured and step <= before:
            raise BadMeasurement(f"measured step {step} after step {before}; steps must increase")
        if step < 1:
            raise BadMeasurement(f"measured step {step}; steps count from 1, the first step taken")
        if step > self.job.target:
            raise BadMeasurement(
                f"measured step {step}, past its last: a run has {self.job.target} steps, and the "
                f"last measurement must be at step {self.job.target}"
            )
        finite(loss, "validation", step)
        if accuracy is not None and not math.isfinite(accuracy):
            raise BadMeasurement(f"accuracy became {accuracy} at step {step}")
        if accuracy is not None and not -SLACK <= accuracy <= 1 + SLACK:
            raise BadMeasurement(
                f"accuracy at step {step} was {accuracy:.4g}, which is no fraction from 0 to 1; "
                "divide a percentage by 100"
            )

    def _told(self, measured: Measured, before: int, since: float, until: float) -> Iterator[Point]:
        """Yield the points of the rungs since the measurement before, and its own."""
        step, (loss, accuracy) = measured.step, _numbers(measured)
        for rung in (*(r for r in self.job.evaluate if before < r < step), step):
            part = (rung - before) / (step - before)
            seconds = since + part * (until - since)
            yield Point(step=rung, seconds=seconds, loss=loss, accuracy=accuracy)

    def _stands(self) -> int:
        """Return where the trial stands: at the highest rung that its last measurement counts for.

        An interrupted one stands at the measurement itself.
        """
        step = self._held.step
        if step < self.job.stop:
            return step
        return max(self.job.stop, *(rung for rung in self.job.evaluate if rung <= step), 0)


def _numbers(measured: Measured) -> tuple[float, float | None]:
    return measured.measurement.loss, measured.measurement.accuracy
