"""ResNet-50 on 32x32 digits, 15 seconds a full run with AVX-512; for a realistic search."""

from __future__ import annotations

from dataclasses import replace

from autotune.data import sources
from autotune.data.digits_pair import Recipe
from autotune.models.resnet import resnet50
from autotune.tasks.base import Shortest
from autotune.tasks.pixels import side
from autotune.tasks.supervised import Supervised

# Before half of the schedule settings ranked the wrong way round on both seeds tried.
# 64 steps are few for so deep a net: digits that fill the image and hardly move let it learn.
_DIGITS = Recipe(size=32, height=0.95, rise=0.02, turn=0.03, stretch=0.03, noise=0.05)


def task(
    data: str | None, steps: int | None, batch_size: int | None, image_size: int | None = None
) -> Supervised:
    """Return the task; without arguments a full run takes about 15 seconds on one core.

    Without AVX-512 it takes about 21. On a CPU it computes in float32, whose products were faster
    than those of AVX-512's bfloat16: 0.50 of the time of oneDNN's convolutions in float32, against
    0.69 (Intel Xeon, ``python benchmarks/products.py float32 bfloat16``, 30 November 2026).
    """
    size = side("resnet50", image_size, _DIGITS.size)
    images = sources.images(data, digits=replace(_DIGITS, size=size))
    return Supervised(
        name="resnet50",
        build=lambda seed: resnet50(images.classes),
        data=images,
        steps=steps or 64,
        batch_size=batch_size or 32,
        shortest=Shortest(steps=40),
        telling=0.6,
    )
