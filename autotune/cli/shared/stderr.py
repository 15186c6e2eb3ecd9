"""Messages on stderr, which may go away: a terminal that closes, a program that reads no more."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import click


def tell(text: str) -> None:
    """Write a line to stderr, if anybody can read it; a signal handler may call it."""
    try:
        click.echo(text, err=True)
    except OSError:
        close_stderr()
    except RuntimeError:  # the signal came while a line was being written
        with suppress(OSError, AttributeError):
            os.write(sys.stderr.fileno(), f"{text}\n".encode())


def close_stderr() -> None:
    """Let stderr lead nowhere from now on, for what else is written there."""
    with suppress(OSError, AttributeError):
        if sys.stderr.fileno() == 2:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
