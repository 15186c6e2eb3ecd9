"""The user's images with boxes in one ``.npz``: ``images``, ``labels`` and ``boxes``.

Images are as in ``image_arrays``, and squares. Labels are of shape (sample, object), -1 where an
image shows fewer objects; boxes of shape (sample, object, 4): centre across and down, width and
height, as fractions of the image's side. What is measured on are ``images_val`` and so on, else
15 % of the images, chosen by the hash of their content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autotune.data import image_arrays
from autotune.data.boxes import NOTHING, BoxBatch
from autotune.data.image_arrays import Arrays
from autotune.data.image_folder import VALIDATED
from autotune.data.order import indices
from autotune.errors import SpecError

NAMES = ("images", "labels", "boxes")
MEASURED = tuple(f"{name}_val" for name in NAMES)


@dataclass(frozen=True, kw_only=True)
class BoxArrays:
    """The user's images with boxes, resized once into memory."""

    name: str
    sha256: str
    size: int
    classes: int
    train: BoxBatch  # images as bytes
    held_out: BoxBatch

    @property
    def samples(self) -> int:
        """Return how many images are trained on."""
        return len(self.train[0])

    @property
    def objects(self) -> int:
        """Return how many objects an image shows at most."""
        return self.train[1].shape[1]

    def facts(self) -> Mapping[str, Any]:
        """Return path, hash of the file, classes and counts."""
        return {
            "data": self.name,
            "data_hash": self.sha256,
            "classes": self.classes,
            "objects": self.objects,
            "image_size": self.size,
            "train_size": self.samples,
            "validation_size": len(self.held_out[0]),
        }

    def batch(self, seed: int, step: int, size: int) -> BoxBatch:
        """Return training images, each once an epoch."""
        chosen = indices(seed, step, size, self.samples)
        return _normalised(_taken(self.train, chosen))

    def validation(self) -> Sequence[BoxBatch]:
        """Return the held-out images in batches of 128."""
        every = torch.arange(len(self.held_out[0]))
        return [_normalised(_taken(self.held_out, part)) for part in torch.split(every, 128)]


def _taken(part: BoxBatch, chosen: Tensor) -> BoxBatch:
    images, labels, boxes = part
    return images[chosen], labels[chosen], boxes[chosen]


def _normalised(batch: BoxBatch) -> BoxBatch:
    images, labels, boxes = batch
    return image_arrays.normalised(images), labels, boxes


@lru_cache(maxsize=1)
def load(name: str, size: int) -> BoxArrays:
    """Read a ``.npz`` of images with boxes, resized to ``size`` pixels; raises SpecError."""
    path = Path(name).expanduser()
    arrays = image_arrays.read(path)
    train = _part(path, arrays, NAMES, size)
    if MEASURED[0] in arrays:
        held_out = _part(path, arrays, MEASURED, size)
    else:
        held = image_arrays.held_out(train[0], path)
        train, held_out = _taken(train, ~held), _taken(train, held)
    return BoxArrays(
        name=name,
        sha256=sha256(path.read_bytes()).hexdigest(),
        size=size,
        classes=_classes(path, train, held_out),
        train=train,
        held_out=_taken(held_out, torch.arange(min(VALIDATED, len(held_out[0])))),
    )


def _part(path: Path, arrays: Arrays, names: Sequence[str], size: int) -> BoxBatch:
    missing = [name for name in names if name not in arrays]
    if missing:
        raise SpecError(
            f"data {path} must hold {', '.join(names)} for boxes, got {', '.join(arrays)}"
        )
    images, labels, boxes = (arrays[name] for name in names)
    pixels = image_arrays.pixels(f"{names[0]} of data {path}", images)
    if pixels.shape[2] != pixels.shape[3]:
        raise SpecError(
            f"{names[0]} of data {path} must be squares, as boxes are fractions of a side, got "
            f"{pixels.shape[2]} by {pixels.shape[3]} pixels"
        )
    image_arrays.check_memory(path, pixels, size)
    found, placed = _objects(path, names, labels, boxes, len(pixels))
    return image_arrays.resized(pixels, size), found, placed


def _objects(
    path: Path,
    names: Sequence[str],
    labels: np.ndarray[Any, Any],
    boxes: np.ndarray[Any, Any],
    count: int,
) -> tuple[Tensor, Tensor]:
    if labels.ndim != 2 or len(labels) != count or labels.dtype.kind != "i":
        raise SpecError(
            f"{names[1]} of data {path} must be whole numbers of shape ({count}, objects), -1 "
            f"where there is none, got {labels.dtype} of shape {labels.shape}"
        )
    if boxes.shape != (*labels.shape, 4) or boxes.dtype.kind != "f":
        raise SpecError(
            f"{names[2]} of data {path} must be floats of shape {(*labels.shape, 4)}, got "
            f"{boxes.dtype} of shape {boxes.shape}"
        )
    there = labels != NOTHING
    centre, side = boxes[there][:, :2], boxes[there][:, 2:]
    inside = (centre >= 0).all() and (centre <= 1).all() and (side > 0).all() and (side <= 1).all()
    if labels.min(initial=0) < NOTHING or not inside:
        raise SpecError(
            f"{names[2]} of data {path} must be centre, width and height as fractions from 0 to 1 "
            "of the image's side, with labels from 0"
        )
    placed = torch.from_numpy(np.where(there[..., None], boxes, 0).astype(np.float32))
    return torch.from_numpy(labels.astype(np.int64)), placed


def _classes(path: Path, train: BoxBatch, held_out: BoxBatch) -> int:
    shown = torch.unique(train[1][train[1] != NOTHING])
    if not len(shown):
        raise SpecError(f"data {path} shows no object to train on")
    measured = held_out[1][held_out[1] != NOTHING]
    unknown = measured[~torch.isin(measured, shown)]
    if len(unknown):
        raise SpecError(f"class {unknown[0]} of data {path} has no object to train on")
    return int(shown[-1]) + 1
