"""A lock, so that one process at a time runs a search; the system frees it if the process dies."""

from __future__ import annotations

import errno
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from weakref import WeakSet

from autotune.errors import AlreadyThere, StorageError
from autotune.seeds import derive
from autotune.studies import urls

with warnings.catch_warnings():
    # It warns where a system has no locks, which is nothing to those who only read.
    warnings.simplefilter("ignore", UserWarning)
    from filelock import lock_descriptor

COORDINATOR = "search"  # worker name of the process that holds the lock
LOCK_TIMEOUT = 0.5  # seconds to wait: a process that only checks the lock holds it for a moment
RETRY_EVERY = 0.01  # seconds
ATTEMPTS = 3  # tries before a lock counts as held
_LOCK = "lock"
WITHOUT = (
    "a search needs file locks, which this Python lacks (no fcntl and no msvcrt); run it with "
    "CPython on Linux, macOS or Windows, stored searches can be read here"
)
_held: WeakSet[IO[str]] = WeakSet()  # locks of this process


def _let_go() -> None:
    # A forked process, such as a loader of batches, may outlive this one, and the lock with it.
    for file in _held:
        file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)

# Raised if another process removes the folder at that moment.
_REMOVED = (FileNotFoundError, FileExistsError)


def folder_of(url: str, name: str) -> Path:
    """Return the folder of a search's lock and checkpoints."""
    return urls.beside(url) / f"{derive(name):08x}"


def coordinator(url: str, folder: Path) -> str:
    """Return the worker name of the search command: the same each time it runs."""
    if urls.file(url) is not None:
        return COORDINATOR  # its lock file moves with the database
    return f"{COORDINATOR}-{socket.gethostname()}-{derive(str(folder.absolute())):08x}"


@contextmanager
def exclusive(folder: Path, name: str) -> Iterator[None]:
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


def is_free(folder: Path) -> bool | None:
    """Return whether no process holds the lock; None if that is unknown."""
    try:
        with (folder / _LOCK).open() as file:
            return any(_can_lock(file, look) for look in range(ATTEMPTS))
    except FileNotFoundError:
        return True
    except OSError:
        return None


def _can_lock(file: IO[str], look: int) -> bool:
    """Return whether the lock can be taken; a process that checks it holds it for a moment."""
    time.sleep(RETRY_EVERY if look else 0.0)
    return lock_descriptor(file.fileno(), blocking=False)


def _taken(folder: Path, name: str) -> IO[str]:
    """Return the locked file; waits a moment for processes that only check it."""
    deadline = time.monotonic() + LOCK_TIMEOUT
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
            if error.errno == errno.ENOSYS:
                _tidy(folder)
                raise StorageError(WITHOUT) from None
            if late or not isinstance(error, _REMOVED):
                raise StorageError(f"cannot write in {folder.parent} ({error.strerror})") from None
        time.sleep(RETRY_EVERY)


def _attempt(folder: Path) -> IO[str]:
    """Lock the file; raises BlockingIOError or one of _REMOVED if another process was faster."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / _LOCK).open("w")
    try:
        taken = lock_descriptor(file.fileno(), blocking=False)
        # Another process may have removed the file after it was opened, and made a new one.
        if not taken or not os.path.samestat(os.fstat(file.fileno()), (folder / _LOCK).stat()):
            raise BlockingIOError
    except OSError:
        file.close()
        raise
    _held.add(file)
    return file


def _tidy(folder: Path) -> None:
    """Remove the lock file and its folders if they hold nothing else.

    This is safe while the lock is held: a process that locks the removed file sees that it is no
    longer at its path, and a process that finds no folder makes it again.
    """
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [_LOCK]:
            (folder / _LOCK).unlink()
            folder.rmdir()
            folder.parent.rmdir()
