"""DETR, which answers an image with a set of boxes. Its authors' weights are not fetched."""

from __future__ import annotations

from dataclasses import replace

from autotune.data import sources
from autotune.data.digits_boxes import Recipe
from autotune.errors import SpecError
from autotune.models.detr import DETR, MINI, R50, Shape
from autotune.tasks.base import Presets, Shortest
from autotune.tasks.boxes import SetLoss
from autotune.tasks.supervised import Supervised

# arXiv 2005.12872: the transformer's, at batches of 64 images, after training a backbone.
PRESETS: Presets = {
    "adamw": (
        {
            "origin": "authors-detr",
            "lr": 1e-4,
            "weight_decay": 1e-4,
            "max_grad_norm": 0.1,
            "warmup": 0.0,
        },
    ),
}
_DIGITS = Recipe(size=32)
_LARGE = Recipe(size=512, most=4)


def mini(data: str | None, steps: int | None, batch_size: int | None) -> Supervised:
    """DETR of 0.22 million parameters on digits in 32x32, 7 seconds a full run; for detection."""
    made = _task("detr-mini", MINI, data, _DIGITS, steps or 216, batch_size or 32)
    return replace(made, shortest=Shortest(steps=54))


def r50(data: str | None, steps: int | None, batch_size: int | None) -> Supervised:
    """DETR of 41 million parameters with a ResNet-50, on images of 512x512; for a GPU."""
    return _task("detr-r50", R50, data, _LARGE, steps or 1000, batch_size or 16)


def _task(
    name: str, shape: Shape, data: str | None, recipe: Recipe, steps: int, batch_size: int
) -> Supervised:
    found = sources.boxes(data, digits=recipe)
    if found.objects > shape.queries:
        raise SpecError(
            f"an image of data '{found.name}' shows {found.objects} objects, {name} answers with "
            f"at most {shape.queries}; take a larger network, or images that show fewer"
        )
    return Supervised(
        name=name,
        build=lambda seed: DETR(shape, found.classes),
        data=found,
        steps=steps,
        batch_size=batch_size,
        objective=lambda precision: SetLoss(queries=shape.queries, precision=precision),
        presets=PRESETS,
    )
