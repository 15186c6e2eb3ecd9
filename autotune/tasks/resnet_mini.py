"""Small ResNet on 24x24 digits, 2 seconds a full run; for quick work with images."""

from __future__ import annotations

from autotune.data import sources
from autotune.data.digits_pair import Recipe
from autotune.models.resnet import ResNetMini
from autotune.tasks.base import Shortest
from autotune.tasks.pixels import side
from autotune.tasks.supervised import Supervised


def task(
    data: str | None, steps: int | None, batch_size: int | None, image_size: int | None = None
) -> Supervised:
    """Return the task; without arguments a full run takes about two seconds on one core."""
    size = side("resnet-mini", image_size, 24)
    images = sources.images(data, digits=Recipe(size=size))
    return Supervised(
        name="resnet-mini",
        build=lambda seed: ResNetMini(images.classes),
        data=images,
        steps=steps or 243,
        batch_size=batch_size or 32,
        shortest=Shortest(steps=41),
    )
