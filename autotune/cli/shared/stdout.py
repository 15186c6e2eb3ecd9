"""Standard output is the result's alone: whatever else is written there goes to stderr.

A user's code prints in many ways: by ``print``, by a logger, from C, in a program that it starts,
at the end of the process. So the file descriptor itself leads to stderr while a command runs it,
and until the process ends.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

from autotune.engines.lines import whole_lines

_RESERVED: list[TextIO] = []


def current() -> TextIO:
    """Return the stream for results."""
    return _RESERVED[-1] if _RESERVED else sys.stdout


@contextmanager
def reserved() -> Iterator[TextIO]:
    """Give the stream for a command's result."""
    given, own = sys.stdout, sys.__stdout__
    if own is None or given is not own or own.fileno() != 1:
        # Something else than the process's own, such as a test's: only ``print`` can be led away.
        with redirect_stdout(sys.stderr):
            yield given
        return
    own.flush()
    result = open(os.dup(1), "w", encoding=own.encoding, errors=own.errors)  # noqa: SIM115
    _lead_to_stderr()
    sys.stdout = whole_lines(1)
    _RESERVED.append(result)
    yield result
    result.flush()


def _lead_to_stderr() -> None:
    try:
        os.dup2(2, 1)
    except OSError:  # there is no stderr
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
