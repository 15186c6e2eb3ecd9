"""Many replicas of a small model in one step, as the engine 'batched' trains them on CPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch.nn import Parameter
from torch.nn.functional import cross_entropy

from autotune.bench.gpu.section import Late, Row, tried
from autotune.bench.gpu.training import rate, supervised
from autotune.optimizers import Stacked
from autotune.tasks.supervised import Supervised


def batched(names: Sequence[str], counts: Sequence[int], device: str, late: Late) -> Iterator[Row]:
    """Yield what a step of so many replicas takes, and how many settings that tries in a minute."""
    for name in names:
        task = supervised(name)
        for count in counts:
            yield tried({"task": name, "replicas": count}, partial(_row, task, count, device))


def _row(task: Supervised, count: int, device: str) -> Row:
    per_second = rate(Replicas(task, count, device).step, device)
    return {
        "ms a step": 1e3 / per_second,
        "settings/min": 60 * per_second * count / task.steps,
    }


class Replicas:
    """Replicas of a task's model on a device, on one batch, each with its own learning rate."""

    def __init__(self, task: Supervised, count: int, device: str) -> None:
        if task.side_by_side is None:
            raise TypeError(f"{task.name} must train side by side")
        self.forward, self.device = task.side_by_side, device
        self.weights = {
            name: Parameter(torch.stack([p.detach()] * count).to(device))
            for name, p in task.model(0).named_parameters()
        }
        rows = [{"lr": 1e-3 * (k + 1), "weight_decay": 0.02} for k in range(count)]
        self.optimizer = Stacked("adan", list(self.weights.values()), rows)
        batch = task.data.batch(0, 0, task.batch_size)
        self.inputs, self.labels = (
            each.to(device).expand(count, *each.shape).contiguous() for each in batch
        )

    def step(self, step: int) -> None:
        """Take one step of every replica."""
        self.optimizer.zero_grad()
        with torch.device(self.device):  # where models make their helper tensors
            logits = self.forward(self.weights, self.inputs)
        losses = cross_entropy(logits.flatten(0, -2), self.labels.flatten(), reduction="none")
        losses.view(len(self.inputs), -1).mean(1).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
