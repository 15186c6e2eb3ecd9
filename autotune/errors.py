"""The errors a caller can catch, and the exit code each ends the command with.

AutotuneError                   1   anything below
├── SpecError (ValueError)      2   a name, number or file the user gave cannot be used
│   └── UnknownName (KeyError)  2   nothing is registered under that name
├── MissingExtra (ImportError)  3   an optional package is not installed
├── StorageError (OSError)      4   the database is unreachable, locked, read-only or of another schema
│   ├── Unavailable             4   not at this moment: worth trying again
│   └── LeaseLost               4   another process took over; nothing of this one's was stored
├── NothingUsable               5   no trial ended with a usable loss
├── NotFound (KeyError)         6   no such search, study or trial
└── AlreadyThere                6   a search of that name exists with another spec
"""  # noqa: E501  a drawing

from __future__ import annotations

import signal

from autotune.studies.errors import (
    AlreadyThere,
    AutotuneError,
    LeaseLost,
    NotFound,
    SpecError,
    StorageError,
    Unavailable,
)

__all__ = [
    "SIGNALS",
    "Abort",
    "AlreadyThere",
    "AutotuneError",
    "LeaseLost",
    "MissingExtra",
    "NotFound",
    "NothingUsable",
    "SpecError",
    "StorageError",
    "Unavailable",
    "UnknownName",
    "ends_process",
]

# What people, terminals, batch systems and service managers send to all processes that they find.
SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
)


class Abort(KeyboardInterrupt):
    """This process ends now: raised through a user's code, and no failure of it."""


def ends_process(error: BaseException) -> bool:
    """Return whether an exception out of a user's code ends this process, not only a trial.

    A user's code may raise anything, SystemExit and KeyboardInterrupt too. While Python's own
    handler takes Ctrl-C, a KeyboardInterrupt is taken for that.
    """
    if isinstance(error, Abort):
        return True
    pressed = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return isinstance(error, KeyboardInterrupt) and pressed


class UnknownName(SpecError, KeyError):
    """Nothing is registered under that name."""


class MissingExtra(AutotuneError, ImportError):
    """An optional package is not installed."""

    exit_code = 3


class NothingUsable(AutotuneError):
    """No trial ended with a usable loss."""

    exit_code = 5
