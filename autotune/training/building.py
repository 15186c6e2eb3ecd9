"""What a loop of the user's own builds its training with: optimizer and schedule of a setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from autotune.optimizers import create
from autotune.optimizers.groups import split
from autotune.training.lr_schedule import schedule


def optimizer_of(
    model: nn.Module, optimizer: str, hyper: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """Return the optimizer of a setting; parameters with ndim <= 1 are not decayed."""
    return create(optimizer, split(model, hyper.get("weight_decay", 0.0)), **hyper)


class Built(NamedTuple):
    """A model with what trains it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: LambdaLR


class Builder:
    """Builds optimizer and schedule of one setting for any model, and remembers what it built.

    Args:
        name: Name of the optimizer.
        hyper: Its keyword arguments.
        warmup: Fraction of the schedule in which the learning rate rises.
        steps: Of the whole schedule.
    """

    def __init__(self, name: str, hyper: Mapping[str, Any], warmup: float, steps: int) -> None:
        self.name, self.hyper, self.warmup, self._steps = name, dict(hyper), warmup, steps
        self.built: list[Built] = []

    def __call__(self, model: nn.Module) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Return optimizer and schedule of a model; parameters with ndim <= 1 are not decayed."""
        optimizer = optimizer_of(model, self.name, self.hyper)
        rates = schedule(optimizer, self._steps, self.warmup)
        self.built.append(Built(model, optimizer, rates))
        return optimizer, rates

    def __repr__(self) -> str:
        return f"<the optimizer of a trial: {self.name} with {self.hyper}>"
