"""Masked autoencoders, which paint the hidden patches of an image; labels are not used."""

from __future__ import annotations

from dataclasses import replace

from autotune.data import sources
from autotune.data.digits_pair import Recipe
from autotune.models.vision import NARROW, mae
from autotune.tasks.base import Presets, Shortest
from autotune.tasks.masked_pixels import MaskedPixels
from autotune.tasks.pixels import fewest, side
from autotune.tasks.supervised import Supervised
from autotune.tasks.vit import SIZE

# github.com/sail-sg/Adan and arXiv 2111.06377 (1.5e-4 for each 256 images), both at batches of
# 4096 images and 800 epochs, of which 40 warm up.
PRESETS: Presets = {
    "adan": (
        {
            "origin": "authors-mae-b",
            "lr": 2e-3,
            "betas": (0.98, 0.92, 0.9),
            "weight_decay": 2e-2,
            "max_grad_norm": 10.0,
            "warmup": 40 / 800,
        },
    ),
    "adamw": (
        {
            "origin": "authors-mae-b",
            "lr": 2.4e-3,
            "betas": (0.9, 0.95),
            "weight_decay": 5e-2,
            "warmup": 40 / 800,
        },
    ),
}
# Without noise, which nobody can paint and which would be most of the loss.
_DIGITS = Recipe(size=24, height=0.95, rise=0.02, turn=0.03, stretch=0.03, noise=0.0)
_PATCH, _LARGE = 4, 16


def mini(
    data: str | None, steps: int | None, batch_size: int | None, image_size: int | None = None
) -> Supervised:
    """Masked autoencoder of 0.14 million parameters on digits, 5 seconds a full run; for images."""
    size = side("mae-mini", image_size, _DIGITS.size, multiple=_PATCH)
    images = sources.images(data, digits=replace(_DIGITS, size=size))
    return Supervised(
        name="mae-mini",
        build=lambda seed: mae(
            size=size,
            patch=_PATCH,
            width=64,
            layers=2,
            heads=4,
            decoder=(48, 1, 4),
            spread=NARROW,
        ),
        data=images,
        steps=steps or 243,
        batch_size=batch_size or 32,
        objective=lambda precision: MaskedPixels(patch=_PATCH, precision=precision),
        presets=PRESETS,
        shortest=Shortest(steps=31, image_size=fewest(images, 12)),
    )


def base(
    data: str | None, steps: int | None, batch_size: int | None, image_size: int | None = None
) -> Supervised:
    """Masked autoencoder with a ViT-B as its encoder, on images of 224x224; for a GPU."""
    size = side("mae-base", image_size, SIZE, multiple=_LARGE, least=2 * _LARGE)
    return Supervised(
        name="mae-base",
        build=lambda seed: mae(
            size=size, patch=_LARGE, width=768, layers=12, heads=12, decoder=(512, 8, 16)
        ),
        data=sources.images(data, digits=Recipe(size=size, noise=0.0)),
        steps=steps or 1000,
        batch_size=batch_size or 128,
        objective=lambda precision: MaskedPixels(patch=_LARGE, precision=precision),
        presets=PRESETS,
    )
