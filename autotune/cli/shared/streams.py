"""Standard streams that were closed before the command began, as ``2>&-`` and some daemons do."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

_NAMES = (("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY))


def open_all() -> None:
    """Let each stream that is closed lead nowhere.

    Python has None for it, and its file descriptor would go to the next file that is opened, such
    as the database, into which a message would then be written.
    """
    for place, (name, flags) in enumerate(_NAMES):
        if getattr(sys, name) is not None:
            continue
        nowhere = os.open(os.devnull, flags)
        with suppress(OSError):
            if nowhere != place and not _is_open(place):
                os.dup2(nowhere, place, inheritable=True)
                os.close(nowhere)
                nowhere = place
        mode = "r" if flags == os.O_RDONLY else "w"
        setattr(sys, name, open(nowhere, mode, encoding="utf-8"))  # noqa: SIM115


def _is_open(place: int) -> bool:
    try:
        os.fstat(place)
    except OSError:
        return False
    return True
