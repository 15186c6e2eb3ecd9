"""Runs of one task side by side: each does what it would do alone, to rounding."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.functional import cross_entropy

from autotune.data.base import Batch
from autotune.errors import SpecError
from autotune.optimizers.groups import split
from autotune.tasks.base import Measurement, Task
from autotune.tasks.likeness import first
from autotune.tasks.precision import Precision
from autotune.tasks.supervised import Forward, Supervised

SLICE = 4  # training batches whose samples are measured at once


class Replicas:
    """K runs whose models' weights are stacked along a first dimension.

    Args:
        task: What is trained.
        seeds: Of each run; equal seeds share initialisation and batches.

    Attributes:
        weights: By the model's names.
    """

    def __init__(self, task: Supervised, seeds: Sequence[int]) -> None:
        self._task, self.seeds = batchable(task), tuple(seeds)
        self.device = task.device
        models = {seed: task.model(seed) for seed in dict.fromkeys(seeds)}
        self._model = models[seeds[0]]
        states = {seed: dict(model.named_parameters()) for seed, model in models.items()}
        self.weights = {
            name: Parameter(torch.stack([states[seed][name].detach() for seed in seeds]))
            for name, _ in self._model.named_parameters()
        }

    def groups(self) -> list[dict[str, Any]]:
        """Return the groups of ``split``; a replica's weight decay is that of its setting."""
        names = {p: name for name, p in self._model.named_parameters()}
        groups = []
        for group in split(self._model, 1.0):
            own: dict[str, Any] = {"params": [self.weights[names[p]] for p in group["params"]]}
            groups.append(own if group["weight_decay"] else {**own, "weight_decay": 0.0})
        return groups

    def model(self, k: int) -> nn.Module:
        """Return the model of replica k: its weights are the stack's own."""
        model = copy.deepcopy(self._model)
        for name, p in model.named_parameters():
            p.data = self.weights[name].detach()[k]
        return model

    def first(self, k: int) -> dict[str, float]:
        """Return what the first batches of replica k are recognised by."""
        return first(self._task.batch(self.seeds[k], 0), self._task.validation()[0])

    def losses(self, step: int) -> Tensor:
        """Return each replica's training loss of batch ``step`` (from 0), with its graph."""
        batches = {seed: self._task.batch(seed, step) for seed in dict.fromkeys(self.seeds)}
        inputs, labels = self._stacked(batches)
        return self._each(self._logits(inputs), labels)

    def evaluate(self) -> list[Measurement]:
        """Measure every replica on the validation data."""
        count, samples = len(self.seeds), 0
        loss, right = torch.zeros(2, count, device=self._task.device.place)
        with torch.no_grad():
            for inputs, labels in self._slices():
                logits = self._logits(inputs.expand(count, *inputs.shape))
                every = labels.expand(count, *labels.shape)
                hits = (logits.argmax(-1) == every).flatten(1).float().mean(1)
                loss += len(labels) * self._each(logits, every)
                right += len(labels) * hits
                samples += len(labels)
        found = self.device.numbers([loss / samples, right / samples])
        pairs = zip(found[:count], found[count:], strict=True)
        return [Measurement(loss=mean, accuracy=share) for mean, share in pairs]

    def _logits(self, inputs: Tensor) -> Tensor:
        forward = cast("Forward", self._task.side_by_side)
        return forward(self.weights, inputs)

    def _stacked(self, batches: dict[int, Batch]) -> Batch:
        if len(batches) == 1:
            [(inputs, labels)] = batches.values()
            count = len(self.seeds)
            return inputs.expand(count, *inputs.shape), labels.expand(count, *labels.shape)
        every = [batches[seed] for seed in self.seeds]
        return torch.stack([one for one, _ in every]), torch.stack([one for _, one in every])

    def _slices(self) -> Iterator[Batch]:
        """Yield the validation data in pieces whose activations stay small."""
        for inputs, labels in self._task.validation():
            size = SLICE * self._task.batch_size
            yield from zip(torch.split(inputs, size), torch.split(labels, size), strict=True)

    def _each(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of each replica."""
        every = cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
        return every.view(len(self.seeds), -1).mean(1)


def replicable(task: Task) -> TypeGuard[Supervised]:
    """Tell whether runs of a task can be trained side by side."""
    return (
        isinstance(task, Supervised)
        and task.side_by_side is not None
        and task.precision is Precision.FLOAT32
    )


def batchable(task: Task) -> Supervised:
    """Return a task whose runs can be trained side by side; raises SpecError of another."""
    if replicable(task):
        return task
    if isinstance(task, Supervised) and task.side_by_side:
        raise SpecError(
            f"runs side by side compute in float32, got model '{task.name}' in {task.precision}; "
            "run it on the engine 'processes'"
        )
    raise SpecError(
        f"model '{task.name}' cannot be trained side by side, or is no quicker that way; "
        "run it on the engine 'processes'"
    )
