"""A folder of the user's images: ``train/<class>/*.png`` and, when there is one, ``val/<class>``.

Without ``val/``, 15 % of each class are held out, chosen by the hash of the file's content: copies
of one image never stand on both sides. At most 1,024 of the held-out images are measured on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autotune.data.base import Batch
from autotune.data.order import indices
from autotune.errors import MissingExtra, SpecError

ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
LIMIT = 1 << 30  # bytes of decoded images held in memory
VALIDATED = 1024  # most held-out images that are measured on
_SHARE = 0.15
_MEAN, _STD = 0.45, 0.25  # of photographs, roughly


@dataclass(frozen=True)
class File:
    """One image file: where it is, its class and the hash of its content."""

    path: Path
    label: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """Decoded images of one side of the split, with the files they came from."""

    files: tuple[File, ...]
    images: Tensor  # uint8: samples, 3, size, size
    labels: Tensor


@dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """The user's images, decoded once into memory."""

    folder: str
    size: int
    train: Part
    held_out: Part
    class_names: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the data as ``--data`` takes it."""
        return f"imagefolder:{self.folder}"

    @property
    def classes(self) -> int:
        """Return how many classes there are."""
        return len(self.class_names)

    @property
    def samples(self) -> int:
        """Return how many images are trained on."""
        return len(self.train.files)

    def facts(self) -> Mapping[str, Any]:
        """Return path, hash of every file and its side, classes and counts."""
        digest = sha256(repr((self.size, self.class_names)).encode())
        for part in (self.train, self.held_out):
            digest.update(repr([(file.label, file.sha256) for file in part.files]).encode())
        return {
            "data": self.name,
            "data_hash": digest.hexdigest(),
            "classes": self.classes,
            "class_names": list(self.class_names),
            "image_size": self.size,
            "train_size": self.samples,
            "validation_size": len(self.held_out.files),
        }

    def batch(self, seed: int, step: int, size: int) -> Batch:
        """Return training images, each once an epoch."""
        chosen = indices(seed, step, size, self.samples)
        return _normalised(self.train.images[chosen]), self.train.labels[chosen]

    def validation(self) -> Sequence[Batch]:
        """Return the held-out images in batches of 128."""
        parts = zip(
            torch.split(self.held_out.images, 128),
            torch.split(self.held_out.labels, 128),
            strict=True,
        )
        return [(_normalised(images), labels) for images, labels in parts]


def _normalised(images: Tensor) -> Tensor:
    return (images.float() / 255 - _MEAN) / _STD


@lru_cache(maxsize=1)
def load(folder: str, size: int) -> ImageFolder:
    """Read and decode a folder of images, resized to squares of ``size`` pixels."""
    root = Path(folder).expanduser()
    classes = _classes(root)
    listed = _listed(root / "train", classes)
    if (root / "val").is_dir():
        train, held_out = listed, _listed(root / "val", classes)
    else:
        train, held_out = _split(listed, classes, root)
    held_out = sorted(held_out, key=lambda file: file.sha256)[:VALIDATED]
    _check_memory(root, len(train) + len(held_out), size)
    return ImageFolder(
        folder=folder,
        size=size,
        train=_decoded(train, size),
        held_out=_decoded(held_out, size),
        class_names=classes,
    )


def _classes(root: Path) -> tuple[str, ...]:
    """Return the names of the class folders, refusing what cannot be trained on."""
    if not root.is_dir():
        raise SpecError(f"data folder {root} does not exist")
    if not (root / "train").is_dir():
        raise SpecError(f"data folder {root} has no folder train; expected train/<class>/<image>")
    names = tuple(_folders(root / "train"))
    if len(names) < 2:
        held = f"only '{names[0]}'" if names else "none"
        raise SpecError(f"data folder {root} must hold at least 2 classes in train, got {held}")
    return names


def _folders(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise SpecError(f"cannot read data folder {folder}: {error.strerror}") from error


def _listed(folder: Path, classes: Sequence[str]) -> list[File]:
    """Return the images below ``folder``, by class and name."""
    unknown = sorted(set(_folders(folder)).difference(classes))
    if unknown:
        raise SpecError(f"class '{unknown[0]}' of {folder} is not in {folder.parent / 'train'}")
    files = []
    for label, name in enumerate(classes):
        paths = sorted((folder / name).rglob("*")) if (folder / name).is_dir() else []
        images = [path for path in paths if path.suffix.lower() in ENDINGS and path.is_file()]
        if not images and folder.name == "train":
            raise SpecError(f"class folder {folder / name} holds no image ({', '.join(ENDINGS)})")
        files += [File(path, label, sha256(_content(path)).hexdigest()) for path in images]
    if not files:
        raise SpecError(f"data folder {folder} holds no image ({', '.join(ENDINGS)})")
    return files


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot read image {path}: {error.strerror}") from error


def _split(
    files: Sequence[File], classes: Sequence[str], root: Path
) -> tuple[list[File], list[File]]:
    """Hold out the images of each class whose content hashes lowest."""
    train: list[File] = []
    held_out: list[File] = []
    for label, name in enumerate(classes):
        own = [file for file in files if file.label == label]
        hashes = sorted({file.sha256 for file in own})
        if len(hashes) < 2:
            raise SpecError(
                f"class '{name}' of {root} has 1 image; without a folder val each class needs "
                "at least 2 different ones"
            )
        lowest = set(hashes[: max(1, round(_SHARE * len(hashes)))])
        held_out += [file for file in own if file.sha256 in lowest]
        train += [file for file in own if file.sha256 not in lowest]
    return train, held_out


def _check_memory(root: Path, count: int, size: int) -> None:
    needed = count * 3 * size * size
    if needed > LIMIT:
        raise SpecError(
            f"the {count} images of {root} need {needed >> 20} MiB at {size} by {size} pixels, "
            f"at most {LIMIT >> 20} MiB are held in memory; point at a part of them"
        )


def _decoded(files: Sequence[File], size: int) -> Part:
    return Part(
        files=tuple(files),
        images=torch.stack([_decode(file.path, size) for file in files]),
        labels=torch.tensor([file.label for file in files]),
    )


def _decode(path: Path, size: int) -> Tensor:
    """Return the image as RGB, cut to a square around its middle and resized."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise MissingExtra(
            "data 'imagefolder' needs the models extra: pip install 'adan-autotune[models]'"
        ) from error
    try:
        with Image.open(BytesIO(_content(path))) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            square = ImageOps.fit(upright, (size, size))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # A broken PNG raises SyntaxError.
        raise SpecError(f"cannot decode image {path}; repair or remove it") from error
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)
