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
]


class UnknownName(SpecError, KeyError):
    """Nothing is registered under that name."""


class MissingExtra(AutotuneError, ImportError):
    """An optional package is not installed."""

    exit_code = 3


class NothingUsable(AutotuneError):
    """No trial ended with a usable loss."""

    exit_code = 5
