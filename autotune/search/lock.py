"""One process at a time runs a search: a lock that the system releases however the process ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import lock_descriptor

from autotune.errors import AlreadyThere, StorageError
from autotune.seeds import derive
from autotune.studies import urls

COORDINATOR = "search"  # the worker's name of who holds the lock
PATIENCE = 0.5  # seconds to wait for one who only looks whether a search is run
PAUSE = 0.01
LOOKS = 3  # at a lock that is held, before it is said to be
_LOCK = "lock"
# What making and opening raise when another process removes the folder at that moment.
_REMOVED = (FileNotFoundError, FileExistsError)


def folder_of(url: str, name: str) -> Path:
    """Return where the search of that name in that database keeps its lock and checkpoints."""
    return urls.beside(url) / f"{derive(name):08x}"


@contextmanager
def sitting(folder: Path, name: str) -> Iterator[None]:
    """Hold the lock of the search that keeps its checkpoints in ``folder``.

    Raises:
        AlreadyThere: Another process of this machine holds it.
        StorageError: The folder cannot be written.
    """
    with _taken(folder, name):
        try:
            yield
        finally:
            _tidy(folder)


def vacant(folder: Path) -> bool | None:
    """Say whether no process holds the lock; None where that cannot be told."""
    try:
        with (folder / _LOCK).open() as file:
            return any(_free(file, look) for look in range(LOOKS))
    except FileNotFoundError:
        return True
    except OSError:
        return None


def _free(file: IO[str], look: int) -> bool:
    """Say whether the lock can be had; who else only looks has it for a moment."""
    time.sleep(PAUSE if look else 0.0)
    return lock_descriptor(file.fileno(), blocking=False)


def _taken(folder: Path, name: str) -> IO[str]:
    """Return the locked file, having waited a little for who only looks at it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        late = time.monotonic() > deadline
        try:
            return _attempt(folder)
        except BlockingIOError:
            if late:
                raise AlreadyThere(
                    f"search '{name}' is being run by another process; wait for it or stop it"
                ) from None
        except OSError as error:
            if late or not isinstance(error, _REMOVED):
                raise StorageError(f"cannot write in {folder.parent} ({error.strerror})") from None
        time.sleep(PAUSE)


def _attempt(folder: Path) -> IO[str]:
    """Lock the file; BlockingIOError or one of _REMOVED where another was quicker."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / _LOCK).open("w")
    try:
        taken = lock_descriptor(file.fileno(), blocking=False)
        # It may have been removed since it was opened, and another one made.
        if not taken or not os.path.samestat(os.fstat(file.fileno()), (folder / _LOCK).stat()):
            raise BlockingIOError
    except OSError:
        file.close()
        raise
    return file


def _tidy(folder: Path) -> None:
    """Remove the lock and its folders where they hold nothing else.

    Safe while the lock is held: who locks the removed file sees that it is no longer at its path,
    and who finds no folder makes it again.
    """
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [_LOCK]:
            (folder / _LOCK).unlink()
            folder.rmdir()
            folder.parent.rmdir()
