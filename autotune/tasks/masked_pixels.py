"""Masked pixels: patches that were hidden are told from those that were not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from autotune.data.base import Batch
from autotune.data.seeds import generator
from autotune.tasks.constant import LOSS
from autotune.tasks.precision import Precision
from autotune.tasks.training import Unread

TINY = 1e-6  # added to a patch's variance, as the authors do


@dataclass(frozen=True, kw_only=True)
class MaskedPixels:
    """The loss of a masked autoencoder (arXiv 2111.06377, with normalised pixels).

    The masks of a training batch follow the seed and the step, those of validation are always the
    same.

    Args:
        patch: Pixels of a patch's side.
        precision: What the model computes in.
    """

    patch: int
    precision: Precision = Precision.FLOAT32

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the mean squared error of the masked patches."""
        images, _ = batch
        return self._error(model, images, torch.rand(self._places(images), device=images.device))

    def measure(self, model: nn.Module, batch: Batch) -> Unread:
        """Return the same, of masks that no seed changes; there is no accuracy."""
        images, _ = batch
        noise = torch.rand(self._places(images), generator=generator("validation masks"))
        return Unread(loss=self._error(model, images, noise.to(images.device)))

    def weight(self, batch: Batch) -> float:
        """Return the number of images."""
        return len(batch[0])

    def facts(self, validation: Sequence[Batch]) -> Mapping[str, Any]:
        """Return its metric, and the loss of the mean patch as the only answer."""
        patches = torch.cat(
            [normalised(images, self.patch).flatten(0, 1) for images, _ in validation]
        )
        return {"metric": "validation loss", LOSS: patches.var(0, correction=0).mean().item()}

    def _places(self, images: Tensor) -> tuple[int, int]:
        height, width = images.shape[2:]
        return len(images), (height // self.patch) * (width // self.patch)

    def _error(self, model: nn.Module, images: Tensor, noise: Tensor) -> Tensor:
        with self.precision.computing(images.device.type):
            output = model(images, noise=noise)
        return cast(Tensor, output.loss)


def normalised(images: Tensor, patch: int) -> Tensor:
    """Return patches of shape (batch, patch, number), each less its mean and over its deviation."""
    rows = images.unfold(2, patch, patch).unfold(3, patch, patch)  # batch, colour, y, x, patch
    patches = rows.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
    spread, middle = torch.var_mean(patches, dim=-1, keepdim=True)
    return (patches - middle) / (spread + TINY).sqrt()
