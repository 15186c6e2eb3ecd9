"""What a task asks of its data: inputs and labels, by seed and step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

Batch = tuple[Tensor, Tensor]


class Data(Protocol):
    """Labelled samples in two parts that share none."""

    @property
    def name(self) -> str:
        """Return the data as ``--data`` takes it."""

    @property
    def classes(self) -> int:
        """Return how many labels there are, from 0."""

    @property
    def samples(self) -> int:
        """Return the training samples of an epoch."""

    def facts(self) -> Mapping[str, Any]:
        """Return what identifies the data, as JSON values: name, hash, sizes."""

    def batch(self, seed: int, step: int, size: int) -> Any:
        """Return training batch ``step`` (from 0); it follows the arguments and nothing else.

        It is a ``Batch``, unless the task's objective takes another.
        """

    def validation(self) -> Sequence[Any]:
        """Return the validation set in batches: the same for every seed, none of it trained on."""
