"""Two handwritten digits in one image: 100 classes, where one digit is learnt by any setting.

The digits are scikit-learn's. The first 1,347 are trained on, the last 450 validate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from autotune.data.base import Batch
from autotune.data.order import indices
from autotune.data.seeds import generator
from autotune.errors import MissingExtra
from autotune.seeds import wide

TRAINED = 1347
_MEAN, _STD = 0.25, 0.35  # of the rendered pixels, roughly


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Return scikit-learn's 1,797 digits: images of 8 by 8 in [0, 1], and what they show."""
    images, labels = _table()
    return torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(labels)


def _table() -> tuple[Any, Any]:
    """Return what scikit-learn's ``load_digits`` does, from the file that it reads.

    Importing the library takes 0.8 of the 4 seconds in which a worker becomes ready.
    """
    found = find_spec("sklearn")
    if found is None:
        raise MissingExtra(
            "data 'digits-pair' needs the models extra: pip install 'adan-autotune[models]'"
        )
    file = Path(found.origin or "").parent / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        rows = np.loadtxt(file, delimiter=",")
        return rows[:, :-1], rows[:, -1].astype(int)
    from sklearn.datasets import load_digits

    return cast(tuple[Any, Any], load_digits(return_X_y=True))


def drawn_hash(recipe: Any, validation_size: int) -> str:
    """Return the hash of the digits, a dataclass of how they are drawn, and how many validate."""
    content = sha256(digits()[0].numpy().tobytes())
    content.update(repr((sorted(asdict(recipe).items()), validation_size)).encode())
    return content.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a pair is drawn; lengths are fractions of the image's side."""

    size: int = 32  # pixels of a side
    height: float = 0.75  # of a digit; its width is half the side
    rise: float = 0.1  # most a digit is moved up or down
    turn: float = 0.1  # most a digit is turned, in radians
    stretch: float = 0.1  # most a digit grows or shrinks, of itself
    noise: float = 0.1  # standard deviation added to pixels in [0, 1]


@dataclass(frozen=True, kw_only=True)
class DigitsPair:
    """Pairs drawn without end from the training digits, and a fixed validation set."""

    recipe: Recipe
    validation_size: int = 512
    name: str = "digits-pair"
    classes: int = 100

    @property
    def samples(self) -> int:
        """Return how many digits an epoch shows on either side."""
        return TRAINED

    def facts(self) -> Mapping[str, Any]:
        """Return name, hash of digits and recipe, and sizes."""
        return {
            "data": self.name,
            "data_hash": drawn_hash(self.recipe, self.validation_size),
            "classes": self.classes,
            "image_size": self.recipe.size,
            "validation_size": self.validation_size,
        }

    def batch(self, seed: int, step: int, size: int) -> Batch:
        """Draw pairs of training digits, each digit once an epoch on either side."""
        pairs = self.sources(seed, step, size)
        return compose(pairs, self.recipe, generator("pairs", seed, step))

    def sources(self, seed: int, step: int, size: int) -> Tensor:
        """Return which digits a training batch shows, as rows of left and right."""
        sides = [indices(wide(side, seed), step, size, TRAINED) for side in ("left", "right")]
        return torch.stack(sides, dim=1)

    def validation_sources(self) -> Tensor:
        """Return which digits the validation set shows, as rows of left and right."""
        held_out = len(digits()[0]) - TRAINED
        chance = generator("validation pairs")
        return TRAINED + torch.randint(held_out, (self.validation_size, 2), generator=chance)

    def validation(self) -> Sequence[Batch]:
        """Draw the validation set, in batches of 128."""
        chance = generator("validation")
        return [
            compose(part, self.recipe, chance)
            for part in torch.split(self.validation_sources(), 128)
        ]


def compose(pairs: Tensor, recipe: Recipe, chance: torch.Generator) -> Batch:
    """Return normalised RGB images of the pairs, and labels of 10 * left + right."""
    images, labels = digits()
    halves = [_place(images[side], recipe, chance) for side in pairs.unbind(1)]
    grey = torch.cat(halves, dim=3)
    grey = grey + recipe.noise * torch.randn(grey.shape, generator=chance)
    tens, ones = labels[pairs].unbind(1)
    return ((grey - _MEAN) / _STD).expand(-1, 3, -1, -1), 10 * tens + ones


def _place(images: Tensor, recipe: Recipe, chance: torch.Generator) -> Tensor:
    """Draw each digit, moved, turned and stretched at random, in its half of the image."""
    angle, stretch, rise = (2 * torch.rand(3, len(images), generator=chance) - 1).unbind()
    angle = recipe.turn * angle
    scale = 1 + recipe.stretch * stretch
    across, down = 1 / scale, 1 / (scale * recipe.height)
    rows = [
        torch.stack([across * angle.cos(), -across * angle.sin(), torch.zeros_like(angle)], 1),
        torch.stack([down * angle.sin(), down * angle.cos(), 2 * recipe.rise * rise * down], 1),
    ]
    shape = (len(images), 1, recipe.size, recipe.size // 2)
    grid = affine_grid(torch.stack(rows, 1), list(shape), align_corners=False)
    return grid_sample(images, grid, align_corners=False)
