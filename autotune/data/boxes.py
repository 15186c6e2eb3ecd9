"""What a task of detection asks of its data: images, and labels and boxes of what they show."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from autotune.data.base import Data

# Images; labels of shape (image, object), NOTHING where an image has fewer objects; boxes of shape
# (image, object, 4): centre across and down, width and height, as fractions of the image's side.
BoxBatch = tuple[Tensor, Tensor, Tensor]
NOTHING = -1


class Boxes(Data, Protocol):
    """Data whose batches are ``BoxBatch``."""

    @property
    def objects(self) -> int:
        """Return how many objects an image shows at most."""
