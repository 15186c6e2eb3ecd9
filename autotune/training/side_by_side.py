"""Train many runs at once, each with its own setting and seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autotune.devices import CPU
from autotune.optimizers import Stacked
from autotune.optimizers.registry import stacks
from autotune.optimizers.stacked import alike
from autotune.studies.setting import Setting
from autotune.tasks.base import Measurement, Task
from autotune.tasks.replicas import Replicas, replicable
from autotune.tasks.supervised import Supervised
from autotune.training.averages import averaged
from autotune.training.loading import build, exactly
from autotune.training.loop import train
from autotune.training.lr_schedule import multiplier, shape_of
from autotune.training.norms import norms_of_each
from autotune.training.steps import Diverged, Segment


@dataclass(frozen=True, kw_only=True)
class Member:
    """The setting and seed of one run, and factors on lr where these are a table."""

    setting: Setting
    seed: int
    table: tuple[float, ...] = ()


class SideBySide:
    """Runs of one task and one optimizer that are trained together.

    Runs do not influence each other: a diverged one goes on as NaN.

    Args:
        task: What is trained.
        optimizer: Name of the optimizer.
        members: The runs.

    Attributes:
        measures: Whether to measure the norms of each run's gradient.
        norms: Of each step that nobody has read yet: a row for each run, its L1 and its L2 norm.
    """

    measures = False

    def __init__(self, task: Supervised, optimizer: str, members: Sequence[Member]) -> None:
        self.target, self.members = task.steps, tuple(members)
        self.replicas = Replicas(task, [member.seed for member in members])
        rows = [{"weight_decay": 0.0, **member.setting.hyper} for member in members]
        self.optimizer = Stacked(optimizer, self.replicas.groups(), rows)
        self.norms: list[Tensor] = []
        self._peaks = [row.param_groups[0]["lr"] for row in self.optimizer.rows]

    def step(self, step: int) -> Tensor:
        """Take step number ``step`` (from 0) and return the training losses before it."""
        self._set_rates(step)
        self.optimizer.zero_grad()
        losses = self.replicas.losses(step)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        if self.measures:
            self.norms.append(norms_of_each(list(self.replicas.weights.values())))
        self.optimizer.step()
        return losses.detach()

    def load(self, k: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Set run k to the state of another model and optimizer."""
        self.replicas.model(k).load_state_dict(model.state_dict())
        self.optimizer.rows[k].load_state_dict(optimizer.state_dict())

    def rest(self) -> None:
        """Set the learning rates to their peaks, as checkpoints have them."""
        for row, peak in zip(self.optimizer.rows, self._peaks, strict=True):
            for group in row.param_groups:
                group["lr"] = peak

    def evaluate(self) -> list[Measurement]:
        """Measure every run on the validation data."""
        with averaged(self.optimizer):
            return self.replicas.evaluate()

    def _set_rates(self, step: int) -> None:
        together = zip(self.optimizer.rows, self.members, self._peaks, strict=True)
        for row, member, peak in together:
            warmup, table = member.setting.warmup, member.table
            rate = peak * multiplier(step, self.target, warmup, shape_of(row), table)
            for group in row.param_groups:
                group["lr"] = rate


def loss_curves(
    task: Task, optimizer: str, members: Sequence[Member], rungs: Sequence[int]
) -> NDArray[np.float32]:
    """Return each run's validation losses at the rungs; infinite once it diverged.

    If the task's model cannot be trained side by side, or the optimizer steps no replicas, the runs
    are made one after another.
    """
    with exactly(task):
        return _curves(task, optimizer, members, rungs)


def _curves(
    task: Task, optimizer: str, members: Sequence[Member], rungs: Sequence[int]
) -> NDArray[np.float32]:
    found = np.empty((len(members), len(rungs)), dtype=np.float32)
    if replicable(task) and stacks(optimizer):
        for part in alike(optimizer, [member.setting.hyper for member in members]):
            runs = SideBySide(task, optimizer, [members[k] for k in part])
            found[part] = _together(runs, rungs)
    else:
        for k, member in enumerate(members):
            found[k] = _alone(task, optimizer, member, rungs)
    return found


def _together(runs: SideBySide, rungs: Sequence[int]) -> NDArray[np.float32]:
    alive = torch.ones(len(runs.members), dtype=torch.bool, device=runs.replicas.device.place)
    columns = []
    for step in range(max(rungs)):
        alive &= runs.step(step).isfinite()
        if step + 1 in rungs:
            losses = torch.tensor([each.loss for each in runs.evaluate()], device=alive.device)
            alive &= losses.isfinite()
            columns.append(losses.where(alive, math.inf))
    return torch.stack(columns, dim=1).cpu().numpy()


def _alone(task: Task, optimizer: str, member: Member, rungs: Sequence[int]) -> list[float]:
    run, made = build(task, optimizer, member.setting.hyper, member.seed)
    segment = Segment(
        start=0,
        stop=max(rungs),
        target=task.steps,
        warmup=member.setting.warmup,
        evaluate=frozenset(rungs),
        every=max(rungs),
        table=member.table,
    )
    found = []
    with suppress(Diverged):
        for point in train(run, made, segment, device=getattr(task, "device", CPU)):
            found += [] if point.loss is None else [point.loss]
    return found + [math.inf] * (len(rungs) - len(found))
