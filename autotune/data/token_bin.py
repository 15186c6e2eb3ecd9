"""Tokens in a file of plain numbers, as nanoGPT writes them: mapped into memory, never copied.

A folder holds ``train.bin`` and ``val.bin``; of a single file the last tenth is held out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autotune.data.identity import digest, identity
from autotune.data.tokens import Numbers, Part, Tokens, halves
from autotune.errors import SpecError

TYPES = ("uint16", "uint32")  # little-endian
LOOKED_AT = 1 << 27  # tokens of a file that are compared with the vocabulary before training
_PIECES = 64


def is_one(path: Path) -> bool:
    """Return whether a path is that of tokens."""
    return path.suffix == ".bin" or (path / "train.bin").is_file()


def load(name: str, path: Path, *, dtype: str | None, vocabulary: int) -> Tokens:
    """Return the tokens of a file, or of a folder's train.bin and val.bin.

    Args:
        name: The data as ``--data`` takes it.
        path: The file or folder.
        dtype: One of TYPES; uint16 where none is stated.
        vocabulary: Every token is below it.
    """
    files = [path / "train.bin", path / "val.bin"] if path.is_dir() else [path]
    mapped = [_mapped(file, dtype) for file in files]
    if len(files) == 1:
        train, held_out = halves(mapped[0], str(files[0]))
    else:
        _refuse_copies(files)
        parts = zip(mapped, files, strict=True)
        train, held_out = [Part(numbers=one, where=str(file)) for one, file in parts]
    for part in (train, held_out):
        _look(part, vocabulary)
    return Tokens(
        name=name,
        vocabulary=vocabulary,
        train=train,
        held_out=held_out,
        identity=identity(files),
    )


def _mapped(file: Path, dtype: str | None) -> Numbers:
    kind = np.dtype(dtype or TYPES[0]).newbyteorder("<")
    try:
        size = file.stat().st_size
        if not size:
            raise SpecError(f"data file {file} is empty")
        if size % kind.itemsize:
            raise SpecError(
                f"data file {file} must hold whole numbers of {kind.itemsize} bytes "
                f"({kind.name}), got {size} bytes; state their type as --data 'PATH?dtype=uint32'"
            )
        found: Numbers = np.memmap(file, dtype=kind, mode="r")
    except OSError as error:
        raise SpecError(f"cannot read data file {file}: {error.strerror}") from error
    if dtype is None:
        _refuse_wider(found, file)
    return found


def _refuse_wider(found: Numbers, file: Path) -> None:
    """Refuse numbers of 4 bytes that were taken for numbers of 2: every second one is 0."""
    head = found[:_PIECES]
    if len(head) > 1 and not len(found) % 2 and not head[1::2].any() and head[::2].any():
        raise SpecError(
            f"every second token of {file} is 0, as where 4 bytes a token are read as 2; "
            "state their type as --data 'PATH?dtype=uint32', or dtype=uint16 if it is right"
        )


def _refuse_copies(files: list[Path]) -> None:
    train, held_out = files
    if digest([train]) == digest([held_out]):
        raise SpecError(f"{train} and {held_out} hold the same; validate on other tokens")


def _look(part: Part, vocabulary: int) -> None:
    """Compare tokens with the vocabulary; of a large part pieces, and its windows once read."""
    count = len(part.numbers)
    if count <= LOOKED_AT:
        part.refuse(vocabulary)
        return
    size = LOOKED_AT // _PIECES
    for piece in range(_PIECES):
        start = piece * (count - size) // (_PIECES - 1)
        part.check(part.numbers[start : start + size], vocabulary, start)
