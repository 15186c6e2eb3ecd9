"""The training loop: it takes steps and yields a point at each measurement."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import torch

from autotune.studies.records import Point
from autotune.tasks.base import Run
from autotune.tasks.modes import begin_training
from autotune.training.lr_schedule import multiplier
from autotune.training.pulse import Phase, Pulse, silent


class Diverged(Exception):
    """A loss became NaN or infinite; the message says which loss and when."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """The part of a schedule to train, and where to measure.

    Args:
        start: First step.
        stop: Step to stop at.
        target: Steps of the full schedule.
        warmup: Fraction of the schedule spent warming up.
        evaluate: Steps after which the validation loss is measured.
        every: Steps between points of the training loss.
    """

    start: int
    stop: int
    target: int
    warmup: float
    evaluate: Collection[int]
    every: int


def train(
    run: Run,
    optimizer: torch.optim.Optimizer,
    segment: Segment,
    interrupted: Callable[[], bool] = lambda: False,
    pulse: Pulse = silent,
) -> Iterator[Point]:
    """Train along ``segment``, yielding a point at every measurement and one at the last step.

    The model is put in training mode first, and every step finds the same modes, whatever a loss or
    an evaluation leaves. Stops after the step in which ``interrupted`` became true. Raises Diverged
    if a loss is NaN or infinite, and ValueError if an accuracy is. The seconds of a point count
    from ``start`` to the end of its measurement.
    """
    began = time.perf_counter()
    modes = begin_training(run.model)
    peaks = [group["lr"] for group in optimizer.param_groups]
    for step in range(segment.start, segment.stop):
        _set_rates(optimizer, peaks, multiplier(step, segment.target, segment.warmup))
        modes.restore()
        loss = take_step(run, optimizer, step)
        done = step + 1
        pulse(Phase.STEP)  # before a step only if one has ended: the first belongs to the start
        last = done == segment.stop or interrupted()
        # The loss before the first update tells runs apart that did not begin alike.
        if done == 1 or last or done in segment.evaluate or done % segment.every == 0:
            pulse(Phase.EVALUATION)
            yield _measure(run, done, loss, began, segment)
            pulse(Phase.STEP)
        if last:
            break
    _set_rates(optimizer, peaks, 1.0)


def take_step(run: Run, optimizer: torch.optim.Optimizer, step: int) -> float:
    """Take one step and return its training loss; raises Diverged."""
    optimizer.zero_grad(set_to_none=True)
    loss = run.loss(step)
    value = finite(float(loss.detach()), "training", step + 1)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return value


def finite(loss: float, which: str, step: int) -> float:
    """Return a finite loss; raises Diverged for any other."""
    if not math.isfinite(loss):
        raise Diverged(f"{which} loss became {loss} at step {step}")
    return loss


def _set_rates(optimizer: torch.optim.Optimizer, peaks: list[float], factor: float) -> None:
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"] = peak * factor


def _measure(run: Run, done: int, train_loss: float, began: float, segment: Segment) -> Point:
    if done not in segment.evaluate:
        return Point(step=done, seconds=time.perf_counter() - began, train_loss=train_loss)
    measured = run.evaluate()
    finite(measured.loss, "validation", done)
    if measured.accuracy is not None and not math.isfinite(measured.accuracy):
        raise ValueError(f"accuracy became {measured.accuracy} at step {done}")
    return Point(
        step=done,
        seconds=time.perf_counter() - began,
        train_loss=train_loss,
        loss=measured.loss,
        accuracy=measured.accuracy,
    )
