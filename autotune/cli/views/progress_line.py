"""A line on stderr: how far a benchmark is, and how long it will take."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from autotune.cli.views.format import duration

EVERY = {True: 0.5, False: 10.0}  # seconds between lines, by whether stderr is a terminal


@contextmanager
def progress_line(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Give a function to call with the number of finished parts and of all parts."""
    line = _ProgressLine(terminal=sys.stderr.isatty())
    try:
        yield (lambda done, total: None) if quiet else line
    finally:
        line.clear()


class _ProgressLine:
    """On a terminal one line, rewritten each time; elsewhere a new line every ten seconds."""

    def __init__(self, *, terminal: bool) -> None:
        self.terminal = terminal
        self.began = self.last = time.monotonic()
        self.width = 0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.last < EVERY[self.terminal]:
            return
        self.last = now
        left = (now - self.began) / done * (total - done)
        text = f"{done} of {total}, about {duration(left)} left"
        if self.terminal:
            click.echo(f"\r{text:{self.width}}", nl=False, err=True)
            self.width = len(text)
        else:
            click.echo(text, err=True)

    def clear(self) -> None:
        """Remove the line from the terminal."""
        if self.width:
            click.echo(f"\r{'':{self.width}}\r", nl=False, err=True)
