"""The training loop on a device that computes while this process goes on.

A loss is read some steps after the one that it is of, so that nobody waits for a device at each
step. What a curve holds, and the step at which a run is said to diverge, stay what they are on the
CPU; up to 2 LOOK steps are computed for nothing after that one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from autotune.devices import Device
from autotune.studies.records import Point
from autotune.tasks.base import Run
from autotune.tasks.modes import begin_training
from autotune.training.averages import to_training
from autotune.training.captured import stepper
from autotune.training.lr_schedule import shape_of
from autotune.training.pulse import Phase, Pulse
from autotune.training.steps import Segment, finite, measure, rates, set_rates

LOOK = 16  # steps between two looks at what the device has done
PATIENCE = 0.5  # seconds after which to look all the same

Read = list[tuple[int, float]]  # steps and their losses


class _Losses:
    """Training losses that are still to be read."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._queued: list[tuple[int, Tensor]] = []
        self._asked: list[int] = []
        self._answer: Callable[[], list[float]] = list

    def add(self, step: int, loss: Tensor) -> None:
        """Take the loss of a step."""
        self._queued.append((step, loss))

    def look(self) -> Read:
        """Ask for the losses since the last look, and return those that were asked for then."""
        before = list(zip(self._asked, self._answer(), strict=True))
        self._asked = [step for step, _ in self._queued]
        self._answer = self._device.fetch([loss for _, loss in self._queued])
        self._queued = []
        return before

    def settle(self) -> Read:
        """Wait for all losses."""
        return [*self.look(), *self.look()]


def train_ahead(
    run: Run,
    optimizer: torch.optim.Optimizer,
    segment: Segment,
    interrupted: Callable[[], bool],
    pulse: Pulse,
    device: Device,
) -> Iterator[Point]:
    """Train as ``loop.train`` does, with the same points; those of the training loss come later.

    Their seconds are those at which the loss was read. It is asked whether to stop at each look.
    """
    began = looked = time.perf_counter()
    modes = begin_training(run.model)
    to_training(optimizer)
    peaks, shape = rates(optimizer), shape_of(optimizer)
    take = stepper(run, optimizer, device, segment.stop - segment.start)
    losses = _Losses(device)
    for step in range(segment.start, segment.stop):
        set_rates(optimizer, peaks, segment.factor(step, shape))
        modes.restore()
        try:
            losses.add(step + 1, take(step))
        except Exception:
            yield from _points(losses.settle(), began, segment)  # a NaN may be why it raised
            raise
        done = step + 1
        pulse(Phase.STEP)
        look = done % LOOK == 0 or time.perf_counter() - looked > PATIENCE
        last = done == segment.stop or (look and interrupted())
        if last or done in segment.evaluate:
            *before, newest = losses.settle()
            yield from _points(before, began, segment)
            finite(newest[1], "training", done)
            pulse(Phase.EVALUATION)
            yield measure(run, optimizer, done, newest[1], began, segment)
            pulse(Phase.STEP)
        elif look:
            yield from _points(losses.look(), began, segment)
        looked = time.perf_counter() if look else looked
        if last:
            break
    set_rates(optimizer, peaks, 1.0)


def _points(read: Read, began: float, segment: Segment) -> Iterator[Point]:
    """Yield the points that are due among losses; raises Diverged at the first that is not one."""
    for done, loss in read:
        finite(loss, "training", done)
        if done == 1 or done % segment.every == 0:
            yield Point(step=done, seconds=time.perf_counter() - began, train_loss=loss)
