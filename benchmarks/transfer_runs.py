"""Train the settings of ``transfer.py``: those of one task and seed side by side.

The models here are so small that a step costs its Python calls, not its arithmetic: twenty settings
take little longer than one. Each is trained as it would be alone, to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import Parameter

from autotune.optimizers import Stacked
from autotune.optimizers.stacked import alike
from autotune.studies.setting import Setting
from autotune.tasks.base import Measurement, Problem, Task
from autotune.tasks.problem import OwnProblem
from autotune.tasks.replicas import Replicas
from autotune.training.side_by_side import Member, SideBySide, loss_curves


class Copies(Replicas):
    """Copies of an own problem's model, all of one seed: ``vmap`` runs them at once."""

    def __init__(self, task: OwnProblem, seed: int, count: int) -> None:
        run, problem = task.start(seed), task.build(seed)
        self._model, self.seeds, self.device = run.model, (seed,) * count, task.device
        self._run, self._loss = run, self._each_loss(problem)
        self.weights = {
            name: Parameter(torch.stack([p.detach()] * count))
            for name, p in self._model.named_parameters()
        }

    def _each_loss(self, problem: Problem) -> Callable[..., Any]:
        def loss(weights: dict[str, Tensor], batch: Any) -> Tensor:
            return problem.loss(_Called(self._model, weights), batch)

        return vmap(loss, in_dims=(0, None))

    def losses(self, step: int) -> Tensor:
        """Return each copy's training loss of batch ``step`` (from 0), with its graph."""
        return self._loss(self.weights, self._run.batch(step))

    def evaluate(self) -> list[Measurement]:
        """Measure each copy on the validation batches, each of which counts the same."""
        with torch.no_grad():
            found = [self._loss(self.weights, batch) for batch in self._run.validation]
        return [Measurement(loss=loss) for loss in torch.stack(found).mean(0).tolist()]


class _Called(nn.Module):
    """A module that is called with other weights than its own."""

    def __init__(self, inner: nn.Module, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self._call = lambda *given: functional_call(inner, weights, given)

    def forward(self, *given: Any) -> Tensor:
        return self._call(*given)


class Together(SideBySide):
    """Runs of an own problem with one optimizer and one seed."""

    def __init__(self, task: OwnProblem, optimizer: str, members: Sequence[Member]) -> None:
        self.target, self.members = task.steps, tuple(members)
        self.replicas = Copies(task, members[0].seed, len(members))
        rows = [{"weight_decay": 0.0, **member.setting.hyper} for member in members]
        self.optimizer = Stacked(optimizer, self.replicas.groups(), rows)
        self._peaks = [row.param_groups[0]["lr"] for row in self.optimizer.rows]

    def losses(self) -> list[float]:
        """Train all to the end, and return their losses; infinite for one that diverged."""
        alive = torch.ones(len(self.members), dtype=torch.bool)
        for step in range(self.target):
            alive &= self.step(step).isfinite()
        found = zip(self.evaluate(), alive.tolist(), strict=True)
        return [one.loss if well and math.isfinite(one.loss) else math.inf for one, well in found]


def losses(task: Task, optimizer: str, settings: Sequence[Setting], seed: int) -> list[float]:
    """Return the validation loss at the end of each setting's run on a seed."""
    members = [Member(setting=setting, seed=seed) for setting in settings]
    if not isinstance(task, OwnProblem):
        return [float(one) for one in loss_curves(task, optimizer, members, (task.steps,))[:, 0]]
    found = [math.inf] * len(members)
    for part in alike(optimizer, [setting.hyper for setting in settings]):
        own = Together(task, optimizer, [members[k] for k in part]).losses()
        for k, loss in zip(part, own, strict=True):
            found[k] = loss
    return found
