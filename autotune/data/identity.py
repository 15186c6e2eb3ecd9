"""What tells whether two files hold the same, cheap where they are large."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from autotune.errors import SpecError

BLOCK = 1 << 16  # bytes of a block that is read
BLOCKS = 64  # of a file: what is no larger than all of them is read whole
SAMPLED = f"sizes, and {BLOCKS} blocks of {BLOCK >> 10} KiB of each larger file"


def digest(files: Sequence[Path]) -> str:
    """Return the hash of files in their order: of their sizes and of blocks spread over each.

    Whoever changes a large file between the blocks, and not its size, is not noticed.
    """
    whole = sha256()
    for file in files:
        whole.update(f"{_size(file)}\n".encode())
        try:
            whole.update(_blocks(file))
        except OSError as error:
            raise SpecError(f"cannot read data file {file}: {error.strerror}") from error
    return whole.hexdigest()


def identity(files: Sequence[Path]) -> dict[str, str]:
    """Return the hash as facts of a task, with what it is of where that is not every byte."""
    sampled = any(_size(file) > BLOCK * BLOCKS for file in files)
    return {"data_hash": digest(files), **({"data_hash_of": SAMPLED} if sampled else {})}


def _blocks(file: Path) -> bytes:
    size = _size(file)
    with file.open("rb") as opened:
        if size <= BLOCK * BLOCKS:
            return opened.read()
        found = bytearray()
        for block in range(BLOCKS):  # from the first bytes to the last
            opened.seek(block * (size - BLOCK) // (BLOCKS - 1))
            found += opened.read(BLOCK)
        return bytes(found)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise SpecError(f"cannot read data file {file}: {error.strerror}") from error
