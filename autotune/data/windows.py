"""Windows of a sequence of tokens; the label of a token is the next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autotune.data.base import Batch
from autotune.data.order import indices
from autotune.data.tokens import Part, Tokens
from autotune.errors import SpecError

TOGETHER = 1 << 14  # tokens of a validation batch: their logits have to fit in memory


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows of ``context`` tokens: of the training part each once an epoch."""

    tokens: Tokens
    context: int
    validation_windows: int = 256

    def __post_init__(self) -> None:
        for part, use in ((self.tokens.train, "train"), (self.tokens.held_out, "validate")):
            if len(part.numbers) <= self.context:
                raise SpecError(
                    f"data '{self.name}' must have at least {self.context + 1} tokens to {use} "
                    f"on, a window and its last label, got {len(part.numbers)}"
                )

    @property
    def name(self) -> str:
        """Return the data as ``--data`` takes it."""
        return self.tokens.name

    @property
    def classes(self) -> int:
        """Return the size of the vocabulary."""
        return self.tokens.vocabulary

    @property
    def samples(self) -> int:
        """Return the windows of the training part."""
        return (len(self.tokens.train.numbers) - 1) // self.context

    def facts(self) -> Mapping[str, Any]:
        """Return name, hash and sizes."""
        return {
            "data": self.name,
            **self.tokens.identity,
            "vocabulary": self.classes,
            "context": self.context,
            "train_tokens": len(self.tokens.train.numbers),
            "validation_size": len(self._starts()) * self.context,
        }

    def batch(self, seed: int, step: int, size: int) -> Batch:
        """Return windows of the training part."""
        starts = self.context * indices(seed, step, size, self.samples)
        return self._windows(self.tokens.train, starts)

    def validation(self) -> Sequence[Batch]:
        """Return windows spread evenly over the held-out part."""
        together = max(1, TOGETHER // self.context)
        parts = torch.split(self._starts(), together)
        return [self._windows(self.tokens.held_out, starts) for starts in parts]

    def _starts(self) -> Tensor:
        last = len(self.tokens.held_out.numbers) - self.context - 1
        count = min(self.validation_windows, 1 + last // self.context)
        return torch.linspace(0, last, count, dtype=torch.float64).long()

    def _windows(self, part: Part, starts: Tensor) -> Batch:
        places = starts[:, None] + torch.arange(self.context + 1)
        found = part.numbers[places.numpy()]
        if found.max() >= self.classes:  # of a large file only a part was looked at before
            for window, start in zip(found, starts.tolist(), strict=True):
                part.check(window, self.classes, start)
        windows = torch.from_numpy(found.astype(np.int64))
        return windows[:, :-1], windows[:, 1:]
