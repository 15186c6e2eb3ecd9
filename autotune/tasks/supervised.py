"""Learning from the batches of data: by default labels with cross-entropy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from autotune.data.base import Data
from autotune.data.seeds import seeded
from autotune.models.stacked import Weights
from autotune.tasks.base import Measurement, Run, Shortest
from autotune.tasks.rehearsal import rehearse
from autotune.tasks.training import CrossEntropy, Described, Precision, Training, size

Forward = Callable[[Weights, Tensor], Tensor]  # of stacked weights and inputs


@dataclass(frozen=True, kw_only=True)
class Supervised:
    """A model built by a seed, trained on the batches of data by an objective."""

    name: str
    build: Callable[[int], nn.Module]
    data: Data
    steps: int
    batch_size: int
    precision: Precision = Precision.FLOAT32
    objective: Callable[[Precision], Described] = CrossEntropy  # in the precision of the task
    telling: float = 0.0  # share of a run before which its loss does not rank settings
    origin: Mapping[str, str] = field(default_factory=dict)  # what names the model, if not name
    side_by_side: Forward | None = None  # logits of replicas, for a model that draws nothing
    runs_at_once: int = 1  # runs that train quickest side by side, as measured
    shortest: Shortest | None = None  # how small a run may become where minutes are few

    def facts(self) -> Mapping[str, Any]:
        """Return what identifies the task, as JSON values."""
        return {
            "model": self.name,
            **self.origin,
            **self.data.facts(),
            **self._size,
            "steps": self.steps,
            **({"compare_from": round(self.telling * self.steps)} if self.telling else {}),
            "batch_size": self.batch_size,
            "precision": self.precision.value,
            **self._objective.facts(self.data.validation()),
        }

    def start(self, seed: int) -> Run:
        """Build a run whose initialisation and batch order follow ``seed``."""
        return Training(
            model=self.model(seed),
            seed=seed,
            objective=self._objective,
            batch=partial(self._batch, seed),
            validation=self.data.validation(),
        )

    def rehearse(self) -> Measurement | None:
        """Try a user's model on a batch to train on and on one to measure; ours are known."""
        if not self.origin:
            return None
        with seeded("rehearsal", 0):
            return rehearse(
                self.origin["model"],
                self.model(0),
                self._objective,
                train=self._batch(0, 0),
                validation=self.data.validation()[0],
            )

    def _batch(self, seed: int, step: int) -> Any:
        return self.data.batch(seed, step, self.batch_size)

    def model(self, seed: int) -> nn.Module:
        """Build the model, initialised by the seed."""
        with seeded("initialisation", seed):
            model = self.build(seed)
        if self.precision is Precision.BFLOAT16:
            # nn.Module.to's overload for memory_format alone is not in torch's types.
            for weight in model.parameters():
                if weight.ndim == 4:
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        return model

    @cached_property
    def _objective(self) -> Described:
        return self.objective(self.precision)

    @cached_property
    def _size(self) -> Mapping[str, int]:
        return size(self.model(0))
