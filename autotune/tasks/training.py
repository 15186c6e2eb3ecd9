"""A model under training as the engine sees it: losses by step, measured on held-out batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parameter import UninitializedParameter

from autotune.data.base import Batch
from autotune.data.seeds import seeded
from autotune.devices import CPU, Device
from autotune.errors import SpecError
from autotune.tasks.base import Measurement
from autotune.tasks.batchnorm import fresh_statistics, unchanged_buffers
from autotune.tasks.constant import of_labels
from autotune.tasks.likeness import first
from autotune.tasks.mistakes import on_one_device
from autotune.tasks.modes import Modes, evaluating
from autotune.tasks.precision import Precision
from autotune.tasks.stream import Stream

SCALE = "scale"  # of losses, in what a checkpoint holds of a run
PASSES = 8  # training batches that batch normalisation is measured on before evaluating


def has_bfloat16() -> bool:
    """Return whether this processor multiplies bfloat16: without it, it is twenty times slower."""
    there = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return there and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


@dataclass(frozen=True, kw_only=True)
class Unread:
    """Loss and accuracy of a batch, as numbers or as tensors whose device is not yet asked."""

    loss: Tensor | float
    accuracy: Tensor | float | None = None


Measured = Measurement | Unread


def read(measured: Sequence[Measured], device: Device) -> list[Measurement]:
    """Return measurements as numbers; a device is asked once for all of them."""
    flat: list[Any] = [value for each in measured for value in (each.loss, each.accuracy)]
    places = [place for place, value in enumerate(flat) if isinstance(value, Tensor)]
    tensors = [value.reshape(()) for value in flat if isinstance(value, Tensor)]
    for place, number in zip(places, device.numbers(tensors), strict=True):
        flat[place] = number
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return [Measurement(loss=loss, accuracy=accuracy) for loss, accuracy in pairs]


class Objective(Protocol):
    """What is minimised, and how a batch is measured."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return the loss of a batch as one number, with its graph."""

    def measure(self, model: nn.Module, batch: Any) -> Measured:
        """Return mean loss and accuracy of a batch; Unread spares a device to be asked for each."""

    def weight(self, batch: Any) -> float:
        """Return what a batch counts in the mean over batches."""


class Described(Objective, Protocol):
    """An objective of a registered task, which belongs to what identifies the task."""

    def facts(self, validation: Sequence[Any]) -> Mapping[str, Any]:
        """Return its ``metric``, and the loss of one constant answer where that is known."""


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of logits whose last dimension is the class."""

    precision: Precision = Precision.FLOAT32

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean over the batch."""
        inputs, labels = batch
        return cross_entropy(self.logits(model, inputs), labels.flatten())

    def measure(self, model: nn.Module, batch: Batch) -> Unread:
        """Return loss and the share of labels that have the highest logit."""
        inputs, labels = batch
        logits = self.logits(model, inputs)
        right = (logits.argmax(1) == labels.flatten()).float().mean()
        return Unread(loss=cross_entropy(logits, labels.flatten()), accuracy=right)

    def weight(self, batch: Batch) -> float:
        """Return the number of samples."""
        return len(batch[1])

    def facts(self, validation: Sequence[Batch]) -> Mapping[str, Any]:
        """Return its metric, and what the label frequencies achieve as the only answer."""
        return {"metric": "validation loss", **of_labels(validation)}

    def logits(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """Return logits of shape (labels, classes) in float32."""
        with self.precision.computing(inputs.device.type):
            output = model(self.precision.laid(inputs))
        found: Tensor = getattr(output, "logits", output)
        return found.float().flatten(0, -2)


class Training:
    """A run: everything drawn by chance follows the seed and the step."""

    def __init__(
        self,
        *,
        model: nn.Module,
        seed: int,
        objective: Objective,
        batch: Callable[[int], Any],
        validation: Sequence[Any],
        device: Device = CPU,
        stream: Stream | None = None,
    ) -> None:
        self.model = model
        self.device = device
        self._seed = seed
        self._objective = objective
        self.batch = batch
        self._stream = stream
        self.capturable = False  # whether a step is the same work on other numbers, as a task says
        self.graph: str | None = None  # whether steps are recorded on a device, or why not
        self.scaler: torch.amp.GradScaler | None = None  # of losses, in fp16
        self.validation = validation
        self.first: Mapping[str, float] = {}  # likenesses of its data, from step 0 on

    def loss(self, step: int) -> Tensor:
        """Return the training loss of batch ``step`` (from 0), with its graph."""
        with self.chance(step):
            return self.loss_of(self.take(step))

    def chance(self, step: int) -> AbstractContextManager[None]:
        """Return the context in which what a step draws follows the seed."""
        return seeded("step", self._seed, step, device=self.device)

    def take(self, step: int) -> Any:
        """Return the batch of a step that trains on it next."""
        batch = self.batch(step)
        if step == 0:
            self.first = first(batch, self.validation[0])
        return batch

    def loss_of(self, batch: Any) -> Tensor:
        """Return the training loss of a batch, with its graph."""
        with on_one_device(self.device):
            return self._objective.loss(self.model, batch)

    def elsewhere(self, step: int, count: int) -> Iterator[Tensor]:
        """Yield the losses of other batches than that of ``step`` at the weights of now.

        They are those that follow; of batches that are read as they are needed, the first ones,
        read anew. Of a few batches that come again and again, each is taken once.

        Args:
            step: Whose batch is not among them, from 0.
            count: How many at most.
        """
        seen = [] if self._stream else [self.batch(step)]
        with unchanged_buffers(self.model):
            modes = Modes(self.model)
            for at in range(count):
                other = at if self._stream else step + 1 + at
                with seeded("step", self._seed, other, device=self.device):
                    batch = self._again(other)
                    if any(batch is one for one in seen):
                        continue
                    seen.append(batch)
                    with on_one_device(self.device):
                        loss = self._objective.loss(self.model, batch)
                modes.restore()
                yield loss

    def evaluate(self) -> Measurement:
        """Measure the model on validation data; weights, buffers and modes are left as found."""
        measured = read(self.unread(), self.device)
        weights = [self._objective.weight(batch) for batch in self.validation]
        accuracies = [each.accuracy for each in measured if each.accuracy is not None]
        return Measurement(
            loss=_mean([each.loss for each in measured], weights),
            accuracy=_mean(accuracies, weights) if accuracies else None,
        )

    def unread(self) -> list[Measured]:
        """Measure each validation batch as ``evaluate`` does, and do not wait for the numbers."""
        with (
            torch.no_grad(),
            seeded("evaluation", self._seed, device=self.device),
            fresh_statistics(self.model, self._pass),
            evaluating(self.model),
        ):
            return [self._measure(each) for each in self.validation]

    def _measure(self, batch: Any) -> Measured:
        if any(module.training for module in self.model.modules()):
            self.model.eval()  # the loss of the batch before may have left it
        return self._objective.measure(self.model, batch)

    def _pass(self) -> None:
        modes = Modes(self.model)
        for step in range(PASSES):
            self._objective.loss(self.model, self._again(step))
            modes.restore()

    def _again(self, step: int) -> Any:
        return self.batch(step) if self._stream is None else self._stream.again(step)

    def data_state(self) -> dict[str, Any] | None:
        """Return where its batches are read or how its losses are scaled, if steps tell neither.

        Of batches only if what gives them can go on from there.
        """
        if self.scaler is not None:
            return {SCALE: self.scaler.state_dict()}
        return None if self._stream is None else self._stream.state()

    def load_data(self, state: Mapping[str, Any]) -> None:
        """Go on where another run of the seed was."""
        if self.scaler is not None:
            self.scaler.load_state_dict(state[SCALE])
        elif self._stream is not None:
            self._stream.load(state)

    def close(self) -> None:
        """End what reads its batches."""
        if self._stream is not None:
            self._stream.close()


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


def size(model: nn.Module) -> Mapping[str, int]:
    """Return how many numbers and tensors are trained."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    if any(isinstance(weight, UninitializedParameter) for weight in trained):
        raise SpecError(
            "a model must have its parameters initialised, got a lazy layer; "
            "run it once on a batch before returning it"
        )
    return {"parameters": sum(map(torch.numel, trained)), "tensors": len(trained)}
