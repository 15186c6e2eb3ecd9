"""One hidden layer on 12x12 digits, half a second a full run; for trying things out."""

from __future__ import annotations

from dataclasses import replace

from autotune.data import sources
from autotune.data.digits_pair import Recipe
from autotune.models.mlp import MLP, side_by_side
from autotune.tasks.base import Shortest
from autotune.tasks.pixels import side
from autotune.tasks.supervised import Supervised

_DIGITS = Recipe(size=12, height=0.95, rise=0.02, turn=0.03, stretch=0.03, noise=0.05)
_HIDDEN = 32


def task(
    data: str | None, steps: int | None, batch_size: int | None, image_size: int | None = None
) -> Supervised:
    """Return the task; without arguments a full run takes about half a second on one core."""
    size = side("mlp", image_size, _DIGITS.size)
    images = sources.images(data, digits=replace(_DIGITS, size=size))
    return Supervised(
        name="mlp",
        build=lambda seed: MLP(size**2, _HIDDEN, images.classes),
        data=images,
        steps=steps or 243,
        batch_size=batch_size or 32,
        shortest=Shortest(steps=61),
        side_by_side=side_by_side,
        runs_at_once=64,
    )
