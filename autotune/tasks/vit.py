"""Vision transformers, with what the authors of Adan, Win and DeiT published for them."""

from __future__ import annotations

from dataclasses import replace

from autotune.data import sources
from autotune.data.digits_pair import Recipe
from autotune.models.vision import NARROW, vit
from autotune.tasks.base import Presets, Shortest
from autotune.tasks.pixels import fewest, side
from autotune.tasks.supervised import Supervised

SIZE = 224  # pixels of a side in the papers
# Pairs that fill the image and hardly move: what a narrow network learns in some hundred steps.
DIGITS = Recipe(size=16, height=0.95, rise=0.02, turn=0.03, stretch=0.03, noise=0.05)
_PATCH, _LARGE = 4, 16

# github.com/sail-sg/Adan, recipes I and II at batches of 2048 images; github.com/sail-sg/win at
# batches of 1024 (arXiv 2012.12877 too: 5e-4 for each 512). Warm-ups are epochs of all epochs.
SMALL: Presets = {
    "adan": (
        {"origin": "authors-vit-s-300", "lr": 1.5e-2, "weight_decay": 2e-2, "warmup": 60 / 300},
        {"origin": "authors-vit-s-mixup", "lr": 2.121e-2, "weight_decay": 2e-2, "warmup": 80 / 300},
        {"origin": "authors-vit-s-150", "lr": 1.5e-2, "weight_decay": 2e-2, "warmup": 60 / 150},
    ),
    "adamw": ({"origin": "authors-deit-s", "lr": 1e-3, "weight_decay": 5e-2, "warmup": 5 / 300},),
    "adam-win": ({"origin": "authors-vit-s", "lr": 1e-3, "weight_decay": 1e-5, "warmup": 0.1},),
    "adamw-win": ({"origin": "authors-vit-s", "lr": 2e-3, "weight_decay": 5e-2, "warmup": 0.2},),
    "adamw-win2": (
        {"origin": "authors-vit-s", "lr": 2e-3, "weight_decay": 5e-2, "warmup": 5 / 300},
    ),
    "sgd-win": ({"origin": "authors-vit-s", "lr": 3.0, "weight_decay": 1e-4, "warmup": 5 / 300},),
    "sgd-win2": ({"origin": "authors-vit-s", "lr": 1.5, "weight_decay": 5e-5, "warmup": 5 / 300},),
    "lamb-win2": (
        {
            "origin": "authors-vit-s",
            "lr": 5e-3,
            "weight_decay": 2e-2,
            "max_grad_norm": 1.0,
            "warmup": 90 / 300,
        },
    ),
}
BASE: Presets = {
    "adan": tuple(
        {
            "origin": f"authors-vit-b-{epochs}",
            "lr": 1.5e-2,
            "weight_decay": 2e-2,
            "max_grad_norm": 5.0,
            "warmup": 60 / epochs,
        }
        for epochs in (300, 150)
    ),
    "adamw": ({"origin": "authors-deit-b", "lr": 1e-3, "weight_decay": 5e-2, "warmup": 5 / 300},),
    "adamw-win": (
        {
            "origin": "authors-vit-b",
            "lr": 1e-3,
            "weight_decay": 5e-2,
            "max_grad_norm": 5.0,
            "warmup": 5 / 300,
        },
    ),
    "adamw-win2": (
        {"origin": "authors-vit-b", "lr": 1e-3, "weight_decay": 5e-2, "warmup": 5 / 300},
    ),
    "sgd-win": ({"origin": "authors-vit-b", "lr": 1.5, "weight_decay": 1e-4, "warmup": 5 / 300},),
    "sgd-win2": ({"origin": "authors-vit-b", "lr": 1.5, "weight_decay": 1e-4, "warmup": 5 / 300},),
    "lamb-win2": SMALL["lamb-win2"],
}


def mini(
    data: str | None, steps: int | None, batch_size: int | None, image_size: int | None = None
) -> Supervised:
    """ViT of 0.11 million parameters on 16x16 digits, 4 seconds a full run; for quick work."""
    size = side("vit-mini", image_size, DIGITS.size, multiple=_PATCH)
    images = sources.images(data, digits=replace(DIGITS, size=size))
    shape = {"size": size, "patch": _PATCH, "width": 64, "layers": 2, "heads": 4}
    return Supervised(
        name="vit-mini",
        build=lambda seed: vit(images.classes, **shape, spread=NARROW),
        data=images,
        steps=steps or 324,
        batch_size=batch_size or 32,
        presets=SMALL,
        shortest=Shortest(steps=41, image_size=fewest(images, 12)),
    )


def small(
    data: str | None, steps: int | None, batch_size: int | None, image_size: int | None = None
) -> Supervised:
    """ViT-S of 22 million parameters on images of 224x224, in patches of 16; for a GPU."""
    size = side("vit-small", image_size, SIZE, multiple=_LARGE, least=_LARGE)
    images = sources.images(data, digits=Recipe(size=size))
    return Supervised(
        name="vit-small",
        build=lambda seed: vit(
            images.classes, size=size, patch=_LARGE, width=384, layers=12, heads=6
        ),
        data=images,
        steps=steps or 1000,
        batch_size=batch_size or 128,
        presets=SMALL,
    )


def base(
    data: str | None, steps: int | None, batch_size: int | None, image_size: int | None = None
) -> Supervised:
    """ViT-B of 86 million parameters on images of 224x224, in patches of 16; for a GPU."""
    size = side("vit-base", image_size, SIZE, multiple=_LARGE, least=_LARGE)
    images = sources.images(data, digits=Recipe(size=size))
    return Supervised(
        name="vit-base",
        build=lambda seed: vit(
            images.classes, size=size, patch=_LARGE, width=768, layers=12, heads=12
        ),
        data=images,
        steps=steps or 1000,
        batch_size=batch_size or 128,
        presets=BASE,
    )
