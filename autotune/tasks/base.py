"""What the engine asks of a task: a run that is a pure function of its seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Loss and accuracy on the whole validation set."""

    loss: float
    accuracy: float | None


class Run(Protocol):
    """A model under training: equal seeds give equal weights and equal batches."""

    model: nn.Module

    def loss(self, step: int) -> Tensor:
        """Return the training loss of batch ``step`` (from 0), with its graph."""

    def evaluate(self) -> Measurement:
        """Measure the model on validation data; leaves weights, buffers and modes as they were."""


class Task(Protocol):
    """Model, data, loss and schedule length."""

    @property
    def name(self) -> str:
        """Return the name a search takes when none is given."""

    @property
    def steps(self) -> int:
        """Return the steps of a full run."""

    @property
    def batch_size(self) -> int:
        """Return the samples of a batch."""

    def facts(self) -> Mapping[str, Any]:
        """Return what identifies the task: model, data, data hash, parameters, steps, precision.

        ``steps`` is the length of a full run. ``compare_from``, where given, says after how many
        steps losses begin to rank settings, and no trial is stopped before it.
        """

    def start(self, seed: int) -> Run:
        """Build a run whose initialisation and batch order follow ``seed``."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a user's function may return to bring its own data and loss.

    A batch is whatever ``loss`` takes. ``train`` is read once, at most as many batches as a run has
    steps, and kept; the seed shuffles their order, each coming once an epoch.
    """

    model: nn.Module
    train: Iterable[Any]
    validation: Iterable[Any]
    loss: Callable[[nn.Module, Any], Tensor]
    accuracy: Callable[[nn.Module, Any], float] | None = None
