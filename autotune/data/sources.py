"""From the text after ``--data`` to data."""

from __future__ import annotations

from pathlib import Path

from autotune import registry
from autotune.data import digits_boxes
from autotune.data.base import Data
from autotune.data.boxes import Boxes
from autotune.data.digits_pair import DigitsPair, Recipe
from autotune.data.stdlib_lm import StdlibLM
from autotune.errors import UnknownName

_FOLDER = "imagefolder:"
ARRAYS = ".npz"


def images(data: str | None, *, digits: Recipe) -> Data:
    """Return two digits drawn by a recipe, or the user's images of the same size."""
    if data is None or data == "digits-pair":
        return DigitsPair(recipe=digits)
    if data.endswith(ARRAYS) and not Path(data).is_dir():
        from autotune.data import image_arrays

        return image_arrays.load(data, digits.size)
    if data.startswith(_FOLDER) or "/" in data or Path(data).is_dir():
        from autotune.data import image_folder

        return image_folder.load(data.removeprefix(_FOLDER), digits.size)
    known = registry.unknown("image data", data, ["digits-pair", _FOLDER + "PATH", "FILE" + ARRAYS])
    raise UnknownName(f"{known}, and there is no folder of that name")


def boxes(data: str | None, *, digits: digits_boxes.Recipe) -> Boxes:
    """Return digits with the boxes around them, or the user's images with boxes, in ``.npz``."""
    if data is None or data == "digits-boxes":
        return digits_boxes.DigitsBoxes(recipe=digits)
    if data.endswith(ARRAYS):
        from autotune.data import box_arrays

        return box_arrays.load(data, digits.size)
    known = registry.unknown("data with boxes", data, ["digits-boxes", "FILE" + ARRAYS])
    raise UnknownName(f"{known}; a folder of images has none")


def text(data: str | None, *, context: int = 64) -> Data:
    """Return text as bytes to predict, in windows of ``context``."""
    if data in (None, "stdlib-lm"):
        return StdlibLM(context=context)
    raise UnknownName(
        f"text data must be 'stdlib-lm', the source of Python's standard library, got '{data}'; "
        "leave it out, or bring your own text in a function: --model file.py:function"
    )
