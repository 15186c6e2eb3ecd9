"""How far a measurement is and how long it will take, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from autotune.cli.views.format import duration

EVERY = {True: 0.5, False: 10.0}  # seconds between lines, by whether stderr is a terminal


@contextmanager
def ticking(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Give a function that is told how many parts are over, and of how many."""
    shown = _Shown(terminal=sys.stderr.isatty())
    try:
        yield (lambda over, total: None) if quiet else shown
    finally:
        shown.clear()


class _Shown:
    """One line on a terminal, written over and over; a line now and then elsewhere."""

    def __init__(self, *, terminal: bool) -> None:
        self.terminal = terminal
        self.began = self.told = time.monotonic()
        self.width = 0

    def __call__(self, over: int, total: int) -> None:
        now = time.monotonic()
        if now - self.told < EVERY[self.terminal]:
            return
        self.told = now
        left = (now - self.began) / over * (total - over)
        text = f"{over} of {total}, about {duration(left)} left"
        if self.terminal:
            click.echo(f"\r{text:{self.width}}", nl=False, err=True)
            self.width = len(text)
        else:
            click.echo(text, err=True)

    def clear(self) -> None:
        """Take the line off the terminal."""
        if self.width:
            click.echo(f"\r{'':{self.width}}\r", nl=False, err=True)
