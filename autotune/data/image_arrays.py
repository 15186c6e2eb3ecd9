"""The user's images in one ``.npz``: ``images`` and ``labels``, or ``x_train`` and ``y_train``.

Images are of shape (sample, height, width), with 1 or 3 colours last or first, as bytes or as
fractions; labels are whole numbers from 0. What is measured on are ``images_val`` and
``labels_val`` (``x_test`` and ``y_test``), else 15 % of the images, chosen by the hash of their
content: copies of one image never stand on both sides. At most 1,024 are measured on. Nothing is
unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from autotune.data.base import Batch
from autotune.data.image_folder import LIMIT, VALIDATED
from autotune.data.order import indices
from autotune.errors import SpecError

Arrays = Mapping[str, np.ndarray[Any, Any]]
NAMES = (("images", "labels"), ("x_train", "y_train"))  # of what is trained on
MEASURED = {"images": ("images_val", "labels_val"), "x_train": ("x_test", "y_test")}
COLOURS = (1, 3)
_SHARE = 0.15
_MEAN, _STD = 0.45, 0.25  # of photographs, roughly
_AT_ONCE = 256  # images resized together


@dataclass(frozen=True, kw_only=True)
class Part:
    """Images of one side of the split, as bytes of shape (sample, colour, size, size)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, kw_only=True)
class ImageArrays:
    """The user's images, resized once into memory."""

    name: str
    sha256: str
    size: int
    classes: int
    train: Part
    held_out: Part

    @property
    def samples(self) -> int:
        """Return how many images are trained on."""
        return len(self.train.labels)

    def facts(self) -> Mapping[str, Any]:
        """Return path, hash of the file, classes and counts."""
        return {
            "data": self.name,
            "data_hash": self.sha256,
            "classes": self.classes,
            "image_size": self.size,
            "train_size": self.samples,
            "validation_size": len(self.held_out.labels),
        }

    def batch(self, seed: int, step: int, size: int) -> Batch:
        """Return training images, each once an epoch."""
        chosen = indices(seed, step, size, self.samples)
        return normalised(self.train.images[chosen]), self.train.labels[chosen]

    def validation(self) -> Sequence[Batch]:
        """Return the held-out images in batches of 128."""
        parts = zip(
            torch.split(self.held_out.images, 128),
            torch.split(self.held_out.labels, 128),
            strict=True,
        )
        return [(normalised(images), labels) for images, labels in parts]


def normalised(images: Tensor) -> Tensor:
    """Return bytes as RGB images around zero."""
    return ((images.float() / 255 - _MEAN) / _STD).expand(-1, 3, -1, -1)


@lru_cache(maxsize=1)
def load(name: str, size: int) -> ImageArrays:
    """Read a ``.npz`` of images, resized to squares of ``size`` pixels; raises SpecError."""
    path = Path(name).expanduser()
    arrays = read(path)
    images, labels = _named(path, arrays)
    train = _part(path, arrays, images, labels, size)
    measured = MEASURED[images]
    if measured[0] in arrays:
        measured_on = _part(path, arrays, *measured, size)
    else:
        held = held_out(train.images, path)
        measured_on = Part(images=train.images[held], labels=train.labels[held])
        train = Part(images=train.images[~held], labels=train.labels[~held])
    classes = _classes(path, train, measured_on)
    return ImageArrays(
        name=name,
        sha256=sha256(path.read_bytes()).hexdigest(),
        size=size,
        classes=classes,
        train=train,
        held_out=Part(images=measured_on.images[:VALIDATED], labels=measured_on.labels[:VALIDATED]),
    )


def read(path: Path) -> Arrays:
    """Return the arrays of a file by name, none of them unpickled; raises SpecError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, EOFError, BadZipFile, ValueError, AttributeError) as error:
        told = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if "pickle" in told:  # of what is no .npz, or has objects in it: NumPy names its argument
            told = "must be a .npz of numbers, as numpy.savez writes it"
        what = " ".join(told.split()) or type(error).__name__
        raise SpecError(f"cannot read data {path}: {what}") from error


def _named(path: Path, arrays: Arrays) -> tuple[str, str]:
    for images, labels in NAMES:
        if images in arrays and labels in arrays:
            return images, labels
    expected = " or ".join(" and ".join(pair) for pair in NAMES)
    raise SpecError(f"data {path} must hold {expected}, got {', '.join(arrays) or 'nothing'}")


def _part(path: Path, arrays: Arrays, images: str, labels: str, size: int) -> Part:
    if labels not in arrays:
        raise SpecError(f"data {path} has {images} without {labels}")
    found = pixels(f"{images} of data {path}", arrays[images])
    numbers = _labels(f"{labels} of data {path}", arrays[labels], len(found))
    check_memory(path, found, size)
    return Part(images=resized(found, size), labels=numbers)


def pixels(what: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return images with their colours first; raises SpecError of what are none."""
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[3] in COLOURS and array.shape[1] not in COLOURS:
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in COLOURS or not array.size:
        raise SpecError(
            f"{what} must be images of shape (sample, height, width), with 1 or 3 colours last or "
            f"first, got shape {array.shape}"
        )
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        raise SpecError(f"{what} must be uint8 or floats from 0 to 1, got {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not 0 <= low <= high <= 1:
        raise SpecError(f"{what} must be from 0 to 1 as floats, got {low:g} to {high:g}")
    return array


def _labels(what: str, array: np.ndarray[Any, Any], count: int) -> Tensor:
    if array.shape == (count, 1):
        array = array[:, 0]
    if array.shape != (count,):
        raise SpecError(f"{what} must be {count} numbers, one an image, got shape {array.shape}")
    if array.dtype.kind not in "iu" or array.min() < 0:
        kind = array.dtype if array.dtype.kind not in "iu" else array.min()
        raise SpecError(f"{what} must be whole numbers from 0, got {kind}")
    return torch.from_numpy(array.astype(np.int64))


def check_memory(path: Path, pixels: np.ndarray[Any, Any], size: int) -> None:
    """Refuse more images than are held in memory; raises SpecError."""
    needed = len(pixels) * pixels.shape[1] * size * size
    if needed > LIMIT:
        raise SpecError(
            f"the {len(pixels)} images of {path} need {needed >> 20} MiB at {size} by {size} "
            f"pixels, at most {LIMIT >> 20} MiB are held in memory; point at a part of them"
        )


def resized(pixels: np.ndarray[Any, Any], size: int) -> Tensor:
    """Return bytes, each image cut to a square around its middle and resized."""
    height, width = pixels.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[:, :, top : top + side, left : left + side]
    whole = 1.0 if square.dtype == np.uint8 else 255.0
    if side == size and whole == 1.0:
        return torch.from_numpy(np.ascontiguousarray(square))
    parts = range(0, len(square), _AT_ONCE)
    return torch.cat([_small(square[i : i + _AT_ONCE], whole, size) for i in parts])


def _small(square: np.ndarray[Any, Any], whole: float, size: int) -> Tensor:
    images = torch.from_numpy(square.astype(np.float32)) * whole
    small = interpolate(images, (size, size), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8)


def held_out(images: Tensor, path: Path) -> Tensor:
    """Return which images validate: those whose content hashes lowest; raises SpecError."""
    hashes = [sha256(image.numpy().tobytes()).hexdigest() for image in images]
    different = sorted(set(hashes))
    if len(different) < 2:
        raise SpecError(f"data {path} must hold at least 2 different images, got {len(different)}")
    lowest = set(different[: max(1, round(_SHARE * len(different)))])
    return torch.tensor([each in lowest for each in hashes])


def _classes(path: Path, train: Part, measured: Part) -> int:
    """Return how many classes there are, refusing what cannot be trained on."""
    shown = torch.unique(train.labels)
    if len(shown) < 2:
        raise SpecError(f"data {path} must hold at least 2 classes to train on, got {len(shown)}")
    unknown = measured.labels[~torch.isin(measured.labels, shown)]
    if len(unknown):
        raise SpecError(f"class {unknown[0]} of data {path} has no image to train on")
    classes = int(shown[-1]) + 1
    if classes > len(train.labels):
        raise SpecError(
            f"labels of data {path} must count classes from 0, got {int(shown[-1])} among "
            f"{len(train.labels)} images"
        )
    return classes
