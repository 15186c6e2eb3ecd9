"""What a loop of the user's own builds its training with: optimizer and schedule of a setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from autotune.optimizers import build
from autotune.tasks import chance
from autotune.training.averages import follow
from autotune.training.lr_schedule import schedule


def optimizer_of(
    model: nn.Module, optimizer: str, hyper: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """Return the optimizer of a setting; parameters with ndim <= 1 are not decayed.

    One of ours that averages follows calls of the model: see ``averages.follow``.
    """
    made = build(optimizer, model, hyper)
    follow(model, made)
    return made


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
        stored: What ``own_state`` has saved of a training that goes on; empty for one that begins.
    """

    def __init__(
        self,
        name: str,
        hyper: Mapping[str, Any],
        warmup: float,
        steps: int,
        stored: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.hyper, self.warmup, self._steps = name, dict(hyper), warmup, steps
        self.built: list[Built] = []
        self._stored = stored or {}

    def __call__(self, model: nn.Module) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Return optimizer and schedule of a model; parameters with ndim <= 1 are not decayed.

        In a training that goes on, model, optimizer and schedule have the state that those had
        which were built at the same place among its calls; with the last of them, so has chance.
        """
        optimizer = optimizer_of(model, self.name, self.hyper)
        rates = schedule(optimizer, self._steps, self.warmup)
        self.built.append(Built(model, optimizer, rates))
        place, states = len(self.built), self._stored.get("built", ())
        if place <= len(states):
            weights, moments, rate = states[place - 1]
            model.load_state_dict(weights)
            optimizer.load_state_dict(moments)
            rates.load_state_dict(rate)
        if place == len(states):
            chance.put(self._stored["chance"])
        return optimizer, rates

    def __repr__(self) -> str:
        return f"<the optimizer of a trial: {self.name} with {self.hyper}>"
