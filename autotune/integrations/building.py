"""Optimizer and schedule of a setting, for trainers that step both themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from autotune.errors import SpecError
from autotune.training.building import optimizer_of
from autotune.training.lr_schedule import schedule

__all__ = ["Found", "optimizer_of", "scheduler"]


class Found(Protocol):
    """A setting: a trial's, what a search found, what another tuner chose."""

    @property
    def optimizer(self) -> str:
        """Name of the optimizer."""

    @property
    def hyper(self) -> Mapping[str, Any]:
        """Keyword arguments of the optimizer."""

    @property
    def warmup(self) -> float:
        """Fraction of the schedule in which the learning rate rises."""


def scheduler(
    optimizer: Optimizer, steps: int, warmup: float, table: Sequence[float] = ()
) -> LambdaLR:
    """Return linear warm-up, whose first step is not at rate 0, then half a cosine down to zero.

    For an optimizer that averages, as Schedule-Free, the rate stays at its peak instead.

    Args:
        optimizer: Its groups' learning rates are the peaks.
        steps: Optimizer steps of the whole run; the rate stays 0 after them.
        warmup: Fraction of them in which the rate rises.
        table: Factors on lr at equal distances over the run, as a refined schedule has them,
            instead of warm-up and cosine.

    Raises:
        SpecError: ``steps`` is less than 1.
    """
    if steps < 1:
        raise SpecError(f"steps must be at least 1, got {steps}")
    return schedule(optimizer, steps, warmup, table=table)
