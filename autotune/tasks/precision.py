"""What a model computes in: the words of ``--precision``, and the facts that say what they mean."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from typing import Any

import torch
from torch import nn

from autotune.devices import CPU, WITHOUT_FLOAT64, Device
from autotune.errors import SpecError
from autotune.studies.names import PRECISIONS

AUTO, SINGLE, BF16, FP16 = PRECISIONS
BFLOAT16_FROM = (8, 0)  # compute capability from which GPUs multiply bfloat16 quickly
_DTYPES = {BF16: torch.bfloat16, FP16: torch.float16}


class Precision(StrEnum):
    """What the model computes in, as a fact of its task; weights stay float32.

    Under autocast torch chooses: products and convolutions are computed in 16 bits, sums and losses
    in float32. With 16 bits of which 5 are an exponent (fp16), losses are scaled so that small
    gradients do not become 0.
    """

    FLOAT32 = SINGLE
    BFLOAT16 = "bf16 autocast, channels_last"
    BFLOAT16_ALONE = "bf16 autocast"
    FLOAT16 = "fp16 autocast, scaled loss, channels_last"
    FLOAT16_ALONE = "fp16 autocast, scaled loss"

    @property
    def word(self) -> str:
        """Return it as ``--precision`` takes it."""
        return self.value.split()[0]

    @property
    def channels_last(self) -> bool:
        """Tell whether images and their kernels lie in memory by pixel."""
        return self.value.endswith("channels_last")

    @property
    def scaled(self) -> bool:
        """Tell whether losses are scaled before their gradients are computed."""
        return self.word == FP16

    def computing(self, kind: str) -> AbstractContextManager[Any]:
        """Return the context in which a model computes in it on devices of a kind."""
        return nullcontext() if self.word == SINGLE else torch.autocast(kind, _DTYPES[self.word])

    def laid(self, images: torch.Tensor) -> torch.Tensor:
        """Return images as a model of this precision reads them best."""
        return (
            images.contiguous(memory_format=torch.channels_last) if self.channels_last else images
        )

    def scaler(self, device: Device) -> torch.amp.GradScaler | None:
        """Return what scales losses on a device and skips steps that overflow, where it is used."""
        return torch.amp.GradScaler(device.kind) if self.scaled else None


def convolves(model: nn.Module) -> bool:
    """Tell whether a model has convolutions of images."""
    return any(weight.ndim == 4 for weight in model.parameters())


def precise(word: str, model: nn.Module, device: Device) -> Precision:
    """Return what ``--precision`` asks for, of a model on a device; not for ``auto``.

    Raises:
        SpecError: The device does not compute in it.

    Example:
        >>> precise("bf16", nn.Linear(1, 1), CPU).value
        'bf16 autocast'
    """
    if word == SINGLE:
        return Precision.FLOAT32
    _check(word, device)
    if word == BF16:
        return Precision.BFLOAT16 if convolves(model) else Precision.BFLOAT16_ALONE
    return Precision.FLOAT16 if convolves(model) else Precision.FLOAT16_ALONE


def _check(word: str, device: Device) -> None:
    if device.kind in WITHOUT_FLOAT64:
        raise SpecError(
            f"precision '{word}' is not for device '{device}', which computes in float32; use "
            "precision float32"
        )
    if word == FP16 and device.kind == CPU.kind:
        raise SpecError(
            f"precision 'fp16' needs a GPU, got device '{device}'; use precision bf16 or float32"
        )
    capability = device.capability()
    if word == BF16 and capability is not None and capability < BFLOAT16_FROM:
        least, has = (".".join(map(str, each)) for each in (BFLOAT16_FROM, capability))
        raise SpecError(
            f"precision 'bf16' needs a GPU of compute capability {least}, '{device}' has {has}; "
            "use precision fp16 or float32"
        )
