"""Convolutions as matrix products: on a CPU much faster where images are a few pixels small.

Measured on one thread of a 2-core Intel Xeon, 30 November 2026, by ``benchmarks/products.py``: a
step of ``resnet50`` takes 0.49 of the time with oneDNN's convolutions without AVX-512.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

WIDE = 256  # input channels from which a product also wins where pixels must be copied for it


class ProductConv2d(nn.Conv2d):
    """A convolution that is computed as a product on a CPU, and as usual elsewhere."""

    def forward(self, images: Tensor) -> Tensor:
        """Return what ``nn.Conv2d`` returns, up to rounding."""
        if images.device.type != "cpu":
            return super().forward(images)
        padding = cast(tuple[int, int], self.padding)
        return product(images, self.weight, cast(tuple[int, int], self.stride), padding, self.bias)


def use_products(model: nn.Module, wide: int = WIDE) -> None:
    """Let the convolutions of a model be products where these are faster.

    Those are kernels of one pixel, and larger ones of at least ``wide`` input channels. Names,
    values and number of weights stay; their memory is laid out channels last.
    """
    for layer in model.modules():
        if type(layer) is nn.Conv2d:
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
            if _simple(layer) and (layer.kernel_size == (1, 1) or layer.in_channels >= wide):
                # The layer stays the object that it is, with its weights: only forward differs.
                layer.__class__ = ProductConv2d


def _simple(layer: nn.Conv2d) -> bool:
    """Return whether a convolution has nothing that ``product`` does not know."""
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return False
    small = all(p < k for p, k in zip(layer.padding, layer.kernel_size, strict=True))
    return small and layer.groups == 1 and layer.dilation == (1, 1)


def product(
    images: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    bias: Tensor | None = None,
) -> Tensor:
    """Return the convolution of images as one product of their pixels with the weight.

    Args:
        images: (images, inputs, height, width), quickest channels last.
        weight: (outputs, inputs, kernel height, kernel width), quickest channels last.
        stride: Of rows and columns.
        padding: Rows and columns of zeros on either side.
        bias: (outputs,).

    Returns:
        (images, outputs, height, width), channels last in memory.
    """
    pixels, kernel = images.permute(0, 2, 3, 1), weight.permute(0, 2, 3, 1)
    for axis in (1, 2):
        pixels, kernel = _padded(pixels, kernel, axis, stride[axis - 1], padding[axis - 1])
    seen = _seen(pixels, kernel.shape[1:3], stride)
    found = linear(seen.flatten(0, 2), kernel.flatten(1), bias)
    return found.view(*seen.shape[:3], len(weight)).permute(0, 3, 1, 2)


def _padded(
    pixels: Tensor, kernel: Tensor, axis: int, stride: int, zeros: int
) -> tuple[Tensor, Tensor]:
    """Pad an axis; if it has one window, leave out the part of the kernel that sees padding."""
    size, taps = pixels.shape[axis], kernel.shape[axis]
    if zeros and size + 2 * zeros < taps + stride:
        return pixels, kernel.narrow(axis, zeros, min(size, taps - zeros))
    return pad(pixels, (0, 0) * (3 - axis) + (zeros, zeros)) if zeros else pixels, kernel


def _seen(pixels: Tensor, taps: Sequence[int], stride: tuple[int, int]) -> Tensor:
    """Return what the kernel sees at each place, side by side in the last dimension."""
    rows, columns = (
        [slice(tap, size - taps[axis] + tap + 1, stride[axis]) for tap in range(taps[axis])]
        for axis, size in enumerate(pixels.shape[1:3])
    )
    windows = [pixels[:, row, column] for row in rows for column in columns]
    return torch.cat(windows, 3) if len(windows) > 1 else windows[0]
