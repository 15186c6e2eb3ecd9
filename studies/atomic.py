"""Files that are there whole or not at all, and what tells that one is as it was written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file that takes its name once all of it is on the disk.

    Where that fails, an older file of that name stays as it was, and nothing else is left.
    """
    part = part_of(path)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def part_of(path: Path) -> Path:
    """Return the name that a file has while this process writes it."""
    # It begins with the file's own: the doctor leaves alone what a running trial may be writing.
    return path.with_name(f"{path.name}.{os.getpid()}.part")


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
