"""One process at a time runs a search: a lock that the system releases however the process ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autotune.errors import AlreadyThere, StorageError


@contextmanager
def sitting(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of the search that keeps its checkpoints in ``folder``.

    Raises:
        AlreadyThere: Another process of this machine holds it.
        StorageError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise StorageError(f"cannot write in {folder.parent} ({error.strerror})") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AlreadyThere(
                f"search '{name}' is being run by another process; wait for it or stop it"
            ) from None
        yield
