"""Swin transformers. The authors of Adan published a result for it, and no setting."""

from __future__ import annotations

from dataclasses import replace

from autotune.data import sources
from autotune.data.digits_pair import Recipe
from autotune.models.vision import NARROW, Windows, swin
from autotune.tasks.base import Presets, Shortest
from autotune.tasks.pixels import side
from autotune.tasks.supervised import Supervised
from autotune.tasks.vit import DIGITS, SIZE

# arXiv 2103.14030 at batches of 1024 images, 300 epochs of which 20 warm up, clipped at 5 as in
# its configurations.
PRESETS: Presets = {
    "adamw": (
        {
            "origin": "authors-swin-t",
            "lr": 1e-3,
            "weight_decay": 5e-2,
            "max_grad_norm": 5.0,
            "warmup": 20 / 300,
        },
    ),
}
_MINI = Windows(
    size=DIGITS.size, patch=4, window=2, width=32, depths=(2, 2), heads=(2, 4), spread=NARROW
)
TINY = Windows(
    size=SIZE,
    patch=4,
    window=7,
    width=96,
    depths=(2, 2, 6, 2),
    heads=(3, 6, 12, 24),
    dropped=0.2,
)


def mini(
    data: str | None, steps: int | None, batch_size: int | None, image_size: int | None = None
) -> Supervised:
    """Swin of 0.14 million parameters on 16x16 digits, 5 seconds a full run; for images."""
    size = side("swin-mini", image_size, _MINI.size, multiple=_MINI.patch, least=_MINI.least)
    images = sources.images(data, digits=replace(DIGITS, size=size))
    return Supervised(
        name="swin-mini",
        build=lambda seed: swin(images.classes, replace(_MINI, size=size)),
        data=images,
        steps=steps or 243,
        batch_size=batch_size or 32,
        presets=PRESETS,
        shortest=Shortest(steps=31),
    )


def tiny(
    data: str | None, steps: int | None, batch_size: int | None, image_size: int | None = None
) -> Supervised:
    """Swin-T of 28 million parameters on images of 224x224; for a GPU."""
    size = side("swin-tiny", image_size, TINY.size, multiple=TINY.patch, least=TINY.least)
    images = sources.images(data, digits=Recipe(size=size))
    return Supervised(
        name="swin-tiny",
        build=lambda seed: swin(images.classes, replace(TINY, size=size)),
        data=images,
        steps=steps or 1000,
        batch_size=batch_size or 128,
        presets=PRESETS,
    )
