"""Handwritten digits in an image, each with the box around it.

The digits are scikit-learn's: those that ``digits-pair`` trains on, and those that validate. Each
lies in a quarter of the image of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from autotune.data.boxes import NOTHING, BoxBatch
from autotune.data.digits_pair import TRAINED, digits, drawn_hash
from autotune.data.order import indices
from autotune.data.seeds import generator
from autotune.seeds import wide

QUARTERS = 4
_MEAN, _STD = 0.12, 0.28  # of the rendered pixels, roughly
_INK = 0.25  # of a pixel in [0, 1] that belongs to the digit


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How digits are drawn; lengths are fractions of the image's side."""

    size: int = 32  # pixels of a side
    most: int = 2  # digits of an image, at least one
    least_side: float = 0.46  # of a digit
    most_side: float = 0.5
    noise: float = 0.02  # standard deviation added to pixels in [0, 1]


@dataclass(frozen=True, kw_only=True)
class DigitsBoxes:
    """Images drawn without end from the training digits, and a fixed validation set."""

    recipe: Recipe
    validation_size: int = 256
    name: str = "digits-boxes"
    classes: int = 10

    @property
    def samples(self) -> int:
        """Return how many images an epoch has."""
        return TRAINED // self.recipe.most

    @property
    def objects(self) -> int:
        """Return how many objects an image has at most."""
        return self.recipe.most

    def facts(self) -> Mapping[str, Any]:
        """Return name, hash of digits and recipe, and sizes."""
        return {
            "data": self.name,
            "data_hash": drawn_hash(self.recipe, self.validation_size),
            "classes": self.classes,
            "objects": self.objects,
            "image_size": self.recipe.size,
            "validation_size": self.validation_size,
        }

    def batch(self, seed: int, step: int, size: int) -> BoxBatch:
        """Draw images of training digits, each digit once an epoch."""
        count = self.recipe.most
        shown = indices(wide("boxes", seed), step, size * count, TRAINED).view(size, count)
        return compose(shown, self.recipe, generator("boxes", seed, step))

    def validation(self) -> Sequence[BoxBatch]:
        """Draw the validation set, in batches of 128."""
        chance = generator("validation boxes")
        held_out = len(digits()[0]) - TRAINED
        shape = (self.validation_size, self.recipe.most)
        shown = TRAINED + torch.randint(held_out, shape, generator=chance)
        return [compose(part, self.recipe, chance) for part in torch.split(shown, 128)]


def compose(shown: Tensor, recipe: Recipe, chance: torch.Generator) -> BoxBatch:
    """Return normalised RGB images with as many of the digits of each row as chance has it."""
    count, most = shown.shape
    images, labels = digits()
    side, corner = _places(count, recipe, chance)
    there = torch.arange(most) < torch.randint(1, most + 1, (count, 1), generator=chance)
    drawn = _draw(images[shown], side, corner + side[..., None] / 2, recipe.size)
    grey = (drawn * there[:, :, None, None]).sum(1, keepdim=True)
    grey = grey + recipe.noise * torch.randn(grey.shape, generator=chance)
    extents = _extents()[shown] * side[..., None]
    boxes = torch.cat([corner + extents[..., :2], extents[..., 2:]], dim=-1)
    pixels = ((grey - _MEAN) / _STD).expand(-1, 3, -1, -1)
    return pixels, torch.where(there, labels[shown], NOTHING), boxes * there[..., None]


def _places(count: int, recipe: Recipe, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the side of each digit, and its upper left corner, each in a quarter of its own."""
    most, reach = recipe.most, recipe.most_side - recipe.least_side
    side = recipe.least_side + reach * torch.rand(count, most, generator=chance)
    quarters = torch.rand(count, QUARTERS, generator=chance).argsort(1)[:, :most]
    first = torch.stack([quarters % 2, quarters // 2], dim=-1) / 2
    free = (0.5 - side)[..., None]
    return side, first + free * torch.rand(count, most, 2, generator=chance)


def _draw(images: Tensor, side: Tensor, centre: Tensor, size: int) -> Tensor:
    """Return each digit alone in an image, of shape (image, digit, size, size)."""
    count, most = side.shape
    scale, shift = 1 / side.flatten(), (1 - 2 * centre.flatten(0, 1)) / side.flatten()[:, None]
    nothing = torch.zeros_like(scale)
    across = torch.stack([scale, nothing, shift[:, 0]], 1)
    down = torch.stack([nothing, scale, shift[:, 1]], 1)
    shape = [count * most, 1, size, size]
    grid = affine_grid(torch.stack([across, down], 1), shape, align_corners=False)
    drawn = grid_sample(images.flatten(0, 1), grid, align_corners=False)
    return drawn.view(count, most, size, size)


@cache
def _extents() -> Tensor:
    """Return the box of each digit's ink in its own square: centre, width and height."""
    ink = digits()[0].squeeze(1) >= _INK
    sides = [_between(ink.any(dim)) for dim in (1, 2)]
    (left, right), (top, bottom) = sides
    return torch.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], 1)


def _between(inked: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the first inked place of each row begins and the last ends, as fractions."""
    length = inked.shape[1]
    places = torch.arange(length)
    first = torch.where(inked, places, length).amin(1)
    last = torch.where(inked, places, -1).amax(1)
    return first / length, (last + 1) / length
