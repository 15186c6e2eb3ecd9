"""Parameters and gradients to step with: made-up numbers, laid out and renewed as in training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autotune.bench.step.shapes import Shape

_TILE = 1 << 20
_STRIDE = 4099  # elements by which a step's noise is shifted from the last one's


class Tensors:
    """Parameters, which contenders share, and gradients that are new at every step.

    Gradients alternate between two places, as those of a training loop that frees them never stay
    in one, and are written before each step, as by a backward pass: some optimizers leave scratch
    in them.
    """

    def __init__(self, shapes: Sequence[Shape], dtype: torch.dtype, device: str) -> None:
        draw = torch.Generator().manual_seed(0)
        self.noise = torch.randn(2 * _TILE, generator=draw).to(device, dtype)
        self.params = [torch.empty(s, dtype=dtype, device=device) for s in shapes]
        self.places = [[torch.empty_like(p) for p in self.params] for _ in range(2)]
        self.turn = 0
        for p in self.params:
            _fill(p, self.noise[:_TILE])
            p.requires_grad_()

    def renew(self) -> None:
        """Give every parameter another gradient, at another address."""
        self.turn += 1
        shift = self.turn * _STRIDE % _TILE
        noise = self.noise[shift : shift + _TILE]
        for p, place in zip(self.params, self.places[self.turn % 2], strict=True):
            _fill(place, noise)
            p.grad = place.detach()


def _fill(tensor: Tensor, noise: Tensor) -> None:
    """Repeat the noise until the tensor is full."""
    flat = tensor.view(-1)
    whole = flat.numel() // _TILE * _TILE
    if whole:
        flat[:whole].view(-1, _TILE).copy_(noise)
    if whole < flat.numel():
        flat[whole:].copy_(noise[: flat.numel() - whole])
