"""What the store and a spec refuse; ``autotune.errors`` draws the whole tree."""

from __future__ import annotations


class AutotuneError(Exception):
    """Anything this package refuses; the message is one sentence for a person."""

    exit_code = 1

    def __str__(self) -> str:
        """Return the sentence itself: KeyError would put it in quotes."""
        return str(self.args[0]) if self.args else ""


class SpecError(AutotuneError, ValueError):
    """A name, number or file the user gave cannot be used."""

    exit_code = 2


class StorageError(AutotuneError, OSError):
    """The database is unreachable, locked, read-only or of another schema."""

    exit_code = 4


class Unavailable(StorageError):
    """The database cannot be used at this moment: it may be worth trying again."""


class LeaseLost(StorageError):
    """Another took over what this process was running or deciding; nothing of it was stored."""


class NotFound(AutotuneError, KeyError):
    """No such search, study or trial."""

    exit_code = 6


class AlreadyThere(AutotuneError):
    """The name is taken by something else."""

    exit_code = 6
