"""How many pixels a side of a task's images has: what is asked for, where its network takes it."""

from __future__ import annotations

from autotune.data.base import Data
from autotune.data.digits_pair import DigitsPair
from autotune.errors import SpecError


def side(model: str, asked: int | None, own: int, *, multiple: int = 2, least: int = 8) -> int:
    """Return the pixels of a side of a task's images.

    Args:
        model: Name of the task.
        asked: What ``image_size`` says; None: nothing.
        own: What the task has by itself.
        multiple: What divides the sides that the network takes, such as a patch's.
        least: The smallest of them.

    Raises:
        SpecError: The network does not take images of that size.
    """
    if asked is None:
        return own
    if asked < least or asked % multiple:
        raise SpecError(
            f"image_size of '{model}' must be a multiple of {multiple} from {least} on, got {asked}"
        )
    return asked


def fewest(images: Data, pixels: int) -> int | None:
    """Return ``pixels`` for the digits that they were measured with.

    None for a user's images: nobody knows at which size these still show what they are.
    """
    return pixels if isinstance(images, DigitsPair) else None
