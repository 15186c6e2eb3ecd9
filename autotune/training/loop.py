"""The training loop: it takes steps and yields a point at each measurement."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch

from autotune.devices import CPU, Device
from autotune.studies.records import Point
from autotune.tasks.base import Run
from autotune.tasks.modes import begin_training
from autotune.training.ahead import train_ahead
from autotune.training.averages import to_training
from autotune.training.lr_schedule import shape_of
from autotune.training.pulse import Phase, Pulse, silent
from autotune.training.steps import Segment, measure, rates, set_rates, take_step


def train(
    run: Run,
    optimizer: torch.optim.Optimizer,
    segment: Segment,
    interrupted: Callable[[], bool] = lambda: False,
    pulse: Pulse = silent,
    device: Device = CPU,
    ahead: bool | None = None,
) -> Iterator[Point]:
    """Train along ``segment``, yielding a point at every measurement and one at the last step.

    The model is put in training mode first, and every step finds the same modes, whatever a loss or
    an evaluation leaves. Stops after the step in which ``interrupted`` became true. Raises Diverged
    if a loss is NaN or infinite, and ValueError if an accuracy is. The seconds of a point count
    from ``start`` to the end of its measurement.

    ``device``: where the model is. ``ahead``: whether to go on before a loss is read; None: where
    reading one has to wait for the device.
    """
    if device.waits if ahead is None else ahead:
        yield from train_ahead(run, optimizer, segment, interrupted, pulse, device)
        return
    began = time.perf_counter()
    modes = begin_training(run.model)
    to_training(optimizer)
    peaks, shape = rates(optimizer), shape_of(optimizer)
    for step in range(segment.start, segment.stop):
        set_rates(optimizer, peaks, segment.factor(step, shape))
        modes.restore()
        loss = take_step(run, optimizer, step)
        done = step + 1
        pulse(Phase.STEP)  # before a step only if one has ended: the first belongs to the start
        last = done == segment.stop or interrupted()
        # The loss before the first update tells runs apart that did not begin alike.
        if done == 1 or last or done in segment.evaluate or done % segment.every == 0:
            pulse(Phase.EVALUATION)
            yield measure(run, optimizer, done, loss, began, segment)
            pulse(Phase.STEP)
        if last:
            break
    set_rates(optimizer, peaks, 1.0)
