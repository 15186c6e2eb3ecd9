"""What both training loops are made of: a step, a measurement, and the part of a schedule."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autotune.optimizers.eager import eager
from autotune.studies.records import Point
from autotune.tasks.base import Run
from autotune.training.averages import averaged
from autotune.training.gradients import descend, differentiable
from autotune.training.lr_schedule import multiplier


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
        table: Factors on the learning rate over the schedule, instead of warm-up and cosine.
    """

    start: int
    stop: int
    target: int
    warmup: float
    evaluate: Collection[int]
    every: int
    table: Sequence[float] = ()

    def factor(self, step: int, shape: str) -> float:
        """Return the factor on the peak learning rate at a step, from 0; see ``multiplier``."""
        return multiplier(step, self.target, self.warmup, shape, self.table)


def take_step(run: Run, optimizer: torch.optim.Optimizer, step: int) -> float:
    """Take one step and return its training loss; raises Diverged."""
    eager(optimizer.zero_grad)(set_to_none=True)
    with differentiable(optimizer):
        loss = run.loss(step)
    value = finite(float(loss.detach()), "training", step + 1)
    descend(run, optimizer, loss)
    return value


def queue_step(run: Run, optimizer: torch.optim.Optimizer, step: int) -> Tensor:
    """Let a device take one step and return its training loss, which nobody has waited for."""
    eager(optimizer.zero_grad)(set_to_none=True)
    with differentiable(optimizer):
        loss = run.loss(step)
    descend(run, optimizer, loss)
    return loss.detach()


def finite(loss: float, which: str, step: int) -> float:
    """Return a finite loss; raises Diverged for any other."""
    if not math.isfinite(loss):
        raise Diverged(f"{which} loss became {loss} at step {step}")
    return loss


def rates(optimizer: torch.optim.Optimizer) -> list[float]:
    """Return the learning rates of an optimizer's groups."""
    return [float(group["lr"]) for group in optimizer.param_groups]


def set_rates(optimizer: torch.optim.Optimizer, peaks: list[float], factor: float) -> None:
    """Set learning rates to a part of their peaks; tensors, which a graph reads, are filled."""
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(peak * factor)
        else:
            group["lr"] = peak * factor


def measure(
    run: Run,
    optimizer: torch.optim.Optimizer,
    done: int,
    train_loss: float,
    began: float,
    segment: Segment,
) -> Point:
    """Return the point after step ``done``, with a validation loss if one is due; raises Diverged.

    ``began``: when training did, by ``time.perf_counter``.
    """
    if done not in segment.evaluate:
        return Point(step=done, seconds=time.perf_counter() - began, train_loss=train_loss)
    with averaged(optimizer):
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
