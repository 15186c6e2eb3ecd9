"""ConvNeXt, with what the authors of Adan and ConvNeXt published for it."""

from __future__ import annotations

from dataclasses import replace

from autotune.data import sources
from autotune.data.digits_pair import Recipe
from autotune.models.vision import convnext
from autotune.tasks.base import Presets, Shortest
from autotune.tasks.pixels import fewest, side
from autotune.tasks.supervised import Supervised
from autotune.tasks.vit import DIGITS, SIZE

# github.com/sail-sg/Adan at batches of 2048 images, and arXiv 2201.03545 at 4096. Warm-ups are
# epochs of all epochs.
PRESETS: Presets = {
    "adan": (
        {
            "origin": "authors-convnext-t-300",
            "lr": 1.6e-2,
            "betas": (0.98, 0.92, 0.9),
            "weight_decay": 2e-2,
            "warmup": 150 / 300,
        },
        {
            "origin": "authors-convnext-t-150",
            "lr": 1.5e-2,
            "weight_decay": 4e-2,
            "warmup": 60 / 150,
        },
    ),
    "adamw": (
        {"origin": "authors-convnext-t", "lr": 4e-3, "weight_decay": 5e-2, "warmup": 20 / 300},
    ),
}


def mini(
    data: str | None, steps: int | None, batch_size: int | None, image_size: int | None = None
) -> Supervised:
    """ConvNeXt of 0.22 million parameters on 16x16 digits, 5 seconds a full run; for images."""
    size = side("convnext-mini", image_size, DIGITS.size)
    images = sources.images(data, digits=replace(DIGITS, size=size))
    return Supervised(
        name="convnext-mini",
        build=lambda seed: convnext(images.classes, patch=2, depths=[1, 1, 2], widths=[24, 48, 96]),
        data=images,
        steps=steps or 216,
        batch_size=batch_size or 32,
        presets=PRESETS,
        shortest=Shortest(steps=108, image_size=fewest(images, 8)),
    )


def tiny(
    data: str | None, steps: int | None, batch_size: int | None, image_size: int | None = None
) -> Supervised:
    """ConvNeXt-T of 28 million parameters on images of 224x224; for a GPU."""
    size = side("convnext-tiny", image_size, SIZE, least=32)
    images = sources.images(data, digits=Recipe(size=size))
    return Supervised(
        name="convnext-tiny",
        build=lambda seed: convnext(
            images.classes,
            patch=4,
            depths=[3, 3, 9, 3],
            widths=[96, 192, 384, 768],
            dropped=0.1,
        ),
        data=images,
        steps=steps or 1000,
        batch_size=batch_size or 128,
        presets=PRESETS,
    )
