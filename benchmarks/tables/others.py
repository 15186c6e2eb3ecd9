"""Tasks of other kinds than the built-in ones: their tables were recorded to judge the engine.

``autotune bench record --model others.py:forecast`` trains one, as it does anybody's task.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from autotune import Problem

LENGTH, HIDDEN, BATCH = 20, 24, 16
PIXELS, CODE = 8, 6

Pair = tuple[Tensor, Tensor]  # what goes in, and what should come out


class Forecaster(nn.Module):
    """A gated recurrent network that tells the next value of a series at each of its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.GRU(1, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, series: Tensor) -> Tensor:
        """Return one forecast a step."""
        return self.head(self.cells(series)[0])


def forecast(seed: int) -> Problem:
    """Sums of three waves of unknown phase, with noise: forecast the next value."""
    draw = torch.Generator().manual_seed(0)
    time = torch.arange(LENGTH + 1.0)
    phases = 2 * math.pi * torch.rand(3, 640, 1, generator=draw)
    rates = 0.15 + 0.9 * torch.rand(3, 640, 1, generator=draw)
    series = (rates * time + phases).sin().sum(0) / 3
    series = (series + 0.05 * torch.randn(series.shape, generator=draw)).unsqueeze(-1)
    pairs = [(part[:, :-1], part[:, 1:]) for part in series.split(BATCH)]
    return _problem(Forecaster, pairs, seed)


def denoise(seed: int) -> Problem:
    """Blurred strokes on eight by eight pixels: take noise away through a code of six numbers."""
    draw = torch.Generator().manual_seed(0)
    grid = torch.arange(PIXELS) / (PIXELS - 1)
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    slope, offset, width = torch.rand(3, 960, 1, 1, generator=draw)
    angle = math.pi * slope
    across = (x - 0.5) * angle.sin() - (y - 0.5) * angle.cos() + 0.6 * (offset - 0.5)
    clean = (-((across / (0.08 + 0.15 * width)) ** 2)).exp().flatten(1)
    noisy = clean + 0.3 * torch.randn(clean.shape, generator=draw)
    pairs = list(zip(noisy.split(BATCH), clean.split(BATCH), strict=True))
    return _problem(_coder, pairs, seed)


def _coder() -> nn.Module:
    wide = PIXELS**2
    return nn.Sequential(
        nn.Linear(wide, 48), nn.GELU(), nn.Linear(48, CODE), nn.Linear(CODE, 48), nn.GELU(),
        nn.Linear(48, wide),
    )  # fmt: skip


def _squared(model: nn.Module, batch: Pair) -> Tensor:
    return nn.functional.mse_loss(model(batch[0]), batch[1])


def _problem(build: Callable[[], nn.Module], pairs: list[Pair], seed: int) -> Problem:
    """Keep a quarter of the batches for validation; shuffle the others by the seed."""
    torch.manual_seed(seed)
    held = len(pairs) // 4
    train = [pairs[held + place] for place in torch.randperm(len(pairs) - held)]
    return Problem(model=build(), train=train, validation=pairs[:held], loss=_squared)
