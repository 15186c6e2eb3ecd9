"""Learning from the batches of data: by default labels with cross-entropy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from autotune.data.base import Data
from autotune.data.seeds import seeded
from autotune.devices import CPU, Device
from autotune.models.stacked import Weights
from autotune.tasks.base import Measurement, Presets, Shortest
from autotune.tasks.precision import BFLOAT16_FROM, Precision, convolves, precise
from autotune.tasks.rehearsal import rehearse
from autotune.tasks.resident import Resident
from autotune.tasks.training import CrossEntropy, Described, Training, size

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
    presets: Presets = field(default_factory=dict)  # what the network's authors published
    device: Device = CPU  # where it trains
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
            **self.device.identity(),
            # Not those on a GPU, which the process that asks for facts leaves alone.
            **self._objective.facts(self.data.validation()),
        }

    def on(self, device: Device) -> Supervised:
        """Return the task on a device, in the precision that it computes in there."""
        if device == self.device:
            return self
        return replace(self, device=device, precision=self._precision_on(device))

    def computed(self, word: str) -> Supervised:
        """Return the task in a precision that was asked for, on the device that it is on.

        Raises:
            SpecError: The device does not compute in it.
        """
        return replace(self, precision=precise(word, self._outlined(), self.device))

    @property
    def waits(self) -> bool:
        """Return whether a step reads numbers of its device, which then stands idle for a while."""
        return getattr(self._objective, "waits", False)

    def _precision_on(self, device: Device) -> Precision:
        """Return bfloat16 for our convolutions where a GPU is built for it, else float32."""
        quick = (device.capability() or (0, 0)) >= BFLOAT16_FROM
        if quick and not self.origin and convolves(self._outlined()):
            return Precision.BFLOAT16
        return Precision.FLOAT32

    def start(self, seed: int) -> Training:
        """Build a run whose initialisation and batch order follow ``seed``."""
        run = Training(
            model=self.model(seed),
            seed=seed,
            objective=self._objective,
            batch=partial(self.batch, seed),
            validation=self.validation(),
            device=self.device,
        )
        run.scaler = self.precision.scaler(self.device)
        run.capturable = not self.origin and not self.waits
        return run

    def rehearse(self) -> Measurement | None:
        """Try a user's model on a batch to train on and on one to measure; ours are known.

        On the CPU, for the process that does so leaves a GPU to its workers.
        """
        if not self.origin:
            return None
        with seeded("rehearsal", 0):
            return rehearse(
                self.origin["model"],
                self._built(0),
                self.objective(Precision.FLOAT32),
                train=self.data.batch(0, 0, self.batch_size),
                validation=self.data.validation()[0],
            )

    def batch(self, seed: int, step: int) -> Any:
        """Return training batch ``step`` (from 0) of a seed; not to be changed."""
        return self._resident.batch(
            seed, step, lambda at: self.data.batch(seed, at, self.batch_size)
        )

    def validation(self) -> Sequence[Any]:
        """Return the validation batches; not to be changed."""
        return self._resident.validation(self.data.validation)

    def model(self, seed: int) -> nn.Module:
        """Build the model on the CPU, initialised by the seed, and move it to the device."""
        model = self.device.place_model(self._built(seed))
        if self.precision.channels_last:
            # nn.Module.to's overload for memory_format alone is not in torch's types.
            for weight in model.parameters():
                if weight.ndim == 4:
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        return model

    def _built(self, seed: int) -> nn.Module:
        with seeded("initialisation", seed):
            return self.build(seed)

    def _outlined(self) -> nn.Module:
        """Build the model without its numbers: at once and without memory, however large it is."""
        if not self.origin:
            # Code that computes with numbers while it builds gets some below.
            with suppress(NotImplementedError, RuntimeError), torch.device("meta"):
                return self._built(0)
        return self._built(0)

    @cached_property
    def _resident(self) -> Resident:
        return Resident(self.device)

    @cached_property
    def _objective(self) -> Described:
        return self.objective(self.precision)

    @cached_property
    def _size(self) -> Mapping[str, int]:
        return size(self._outlined())
