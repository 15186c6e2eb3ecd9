"""The training loop of many runs side by side, each with a setting and a seed of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from autotune.optimizers import Stacked
from autotune.schedule import multiplier
from autotune.tasks.base import Measurement
from autotune.tasks.replicas import Replicas
from autotune.tasks.supervised import Supervised


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of the runs: what its optimizer is created with, warm-up and seed."""

    hyper: Mapping[str, Any]
    warmup: float
    seed: int


class Abreast:
    """Runs of one task and one optimizer, stepped together.

    What one run's loss becomes never reaches another: a diverged one goes on as NaN.
    """

    def __init__(self, task: Supervised, optimizer: str, members: Sequence[Member]) -> None:
        self.target, self.members = task.steps, tuple(members)
        self.replicas = Replicas(task, [member.seed for member in members])
        rows = [{"weight_decay": 0.0, **member.hyper} for member in members]
        self.optimizer = Stacked(optimizer, self.replicas.groups(), rows)
        self._peaks = [row.param_groups[0]["lr"] for row in self.optimizer.rows]

    def step(self, step: int) -> Tensor:
        """Take step number ``step`` (from 0) and return the training losses before it."""
        self._set_rates(step)
        self.optimizer.zero_grad()
        losses = self.replicas.losses(step)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return losses.detach()

    def evaluate(self) -> list[Measurement]:
        """Measure every run on the validation data."""
        return self.replicas.evaluate()

    def _set_rates(self, step: int) -> None:
        together = zip(self.optimizer.rows, self.members, self._peaks, strict=True)
        for row, member, peak in together:
            rate = peak * multiplier(step, self.target, member.warmup)
            for group in row.param_groups:
                group["lr"] = rate
