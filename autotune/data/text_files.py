"""The user's text as bytes to predict: a file, or a folder of files.

Of a file the last tenth is held out. Of a folder about a tenth of the files are, chosen by the hash
of their content: copies of one file never stand on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autotune.data.identity import digest, identity
from autotune.data.tokens import HELD_OUT, Part, Tokens, halves
from autotune.errors import SpecError

BYTES = 256
LIMIT = 1 << 30  # bytes of a folder's files, which are held in memory
_HEAD = 1 << 12  # bytes in which a file that is no text shows a 0


def load(name: str, path: Path) -> Tokens:
    """Return the bytes of a file or of a folder's files; ``name`` is as ``--data`` takes it."""
    files = _files(path) if path.is_dir() else [path]
    hashes = {file: digest([file]) for file in files}
    for file in files:
        _refuse_binary(file)
    if path.is_dir():
        train, held_out = _split(path, hashes)
    else:
        if not path.stat().st_size:
            raise SpecError(f"data file {path} is empty")
        train, held_out = halves(np.memmap(path, dtype=np.uint8, mode="r"), str(path))
    return Tokens(
        name=name,
        vocabulary=BYTES,
        train=train,
        held_out=held_out,
        identity=identity(files),
    )


def _files(folder: Path) -> list[Path]:
    """Return the files below a folder in one order everywhere; hidden ones are left out."""
    try:
        found = [path for path in folder.rglob("*") if _shown(path, folder) and path.is_file()]
    except OSError as error:
        raise SpecError(f"cannot read data folder {folder}: {error.strerror}") from error
    if not found:
        raise SpecError(f"data folder {folder} holds no file")
    total = sum(path.stat().st_size for path in found)
    if total > LIMIT:
        raise SpecError(
            f"the files of {folder} must be at most {LIMIT >> 20} MiB together, got "
            f"{total >> 20} MiB; join them into one file, which is not read into memory"
        )
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _shown(path: Path, folder: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _refuse_binary(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD)
    except OSError as error:
        raise SpecError(f"cannot read data file {file}: {error.strerror}") from error
    if b"\0" in head:
        raise SpecError(
            f"data file {file} is no text, it holds bytes of 0; tokens are taken from .bin files, "
            "images by models of images"
        )


def _split(folder: Path, hashes: dict[Path, str]) -> tuple[Part, Part]:
    """Hold out the files whose content hashes lowest."""
    filled = {file: one for file, one in hashes.items() if file.stat().st_size}
    known = sorted(set(filled.values()))
    if len(known) < 2:
        raise SpecError(
            f"data folder {folder} must hold at least 2 different files, one of which is held "
            f"out, got {len(known)}; give the path of a file, of which the end is held out"
        )
    lowest = set(known[: max(1, round(HELD_OUT * len(known)))])
    train = [file for file, one in filled.items() if one not in lowest]
    held_out = [file for file, one in filled.items() if one in lowest]
    return _part(train, folder), _part(held_out, folder)


def _part(files: Sequence[Path], folder: Path) -> Part:
    content = bytearray(b"".join(file.read_bytes() for file in files))
    return Part(numbers=np.frombuffer(content, dtype=np.uint8), where=str(folder))
