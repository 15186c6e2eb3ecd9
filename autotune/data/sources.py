"""From the text after ``--data`` to data."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from autotune import registry
from autotune.data import arrow_folder, digits_boxes, stdlib_lm, text_files, token_bin
from autotune.data.base import Data
from autotune.data.boxes import Boxes
from autotune.data.digits_pair import DigitsPair, Recipe
from autotune.data.text_files import BYTES
from autotune.data.tokens import Tokens
from autotune.data.windows import Windows
from autotune.errors import SpecError, UnknownName

_FOLDER = "imagefolder:"
_OPTIONS = ("dtype", "vocabulary")
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
    """Return bytes to predict, in windows of ``context``."""
    if data in (None, stdlib_lm.NAME):
        return stdlib_lm.StdlibLM(context=context)
    found = tokens(data, vocabulary=BYTES).within(BYTES, "a model of bytes")
    return Windows(tokens=found, context=context)


def tokens(data: str | None, *, vocabulary: int) -> Tokens:
    """Return a sequence of tokens: the embedded text, or the user's.

    Args:
        data: ``stdlib-lm``, or the path of a text file, a folder of them, a ``.bin`` of tokens, a
            folder with train.bin and val.bin, or a data set of Hugging Face's on disk. After it
            may stand ``?dtype=uint32&vocabulary=50257``.
        vocabulary: Of tokens for which none is stated.
    """
    if data in (None, stdlib_lm.NAME):
        return stdlib_lm.tokens()
    path, options = _options(str(data))
    found = Path(path).expanduser()
    if not found.exists():
        raise UnknownName(
            "text data must be 'stdlib-lm', the source of Python's standard library, or the path "
            "of a text file, a folder of them, tokens in .bin or a data set on disk, "
            f"got '{path}', which does not exist"
        )
    vocabulary = options.get("vocabulary", vocabulary)
    if token_bin.is_one(found):
        return token_bin.load(str(data), found, dtype=options.get("dtype"), vocabulary=vocabulary)
    if "dtype" in options:
        raise SpecError(f"dtype is for tokens in .bin, got data '{data}'; leave it out")
    if arrow_folder.is_one(found):
        return arrow_folder.load(str(data), found, vocabulary=vocabulary)
    if "vocabulary" in options:
        raise SpecError(f"text has a vocabulary of 256 bytes, got data '{data}'; leave it out")
    return text_files.load(str(data), found)


def _options(data: str) -> tuple[str, dict[str, Any]]:
    """Return the path, and what stands behind it after a question mark."""
    path, mark, query = data.partition("?")
    if not mark or Path(data).exists():
        return data, {}
    options: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in options.items():
        if name not in _OPTIONS:
            raise UnknownName(registry.unknown("option of data", name, _OPTIONS))
        if name == "dtype" and value not in token_bin.TYPES:
            raise SpecError(f"dtype must be {' or '.join(token_bin.TYPES)}, got '{value}'")
        if name == "vocabulary":
            options[name] = _count(value)
    return path, options


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 < int(text) < 1 << 31:
        raise SpecError(f"vocabulary must be a whole number above 1, got '{text}'")
    return int(text)
