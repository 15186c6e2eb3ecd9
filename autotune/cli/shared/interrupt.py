"""Ctrl-C and SIGTERM: the first asks a search to save and stop, the second ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import click

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Which signal came, if any; ``halt`` is set by the first."""

    def __init__(self) -> None:
        self.halt = threading.Event()
        self.signal: int | None = None
        self.over = False  # the search has ended: what is left is to say so

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.over:
            return
        if self.halt.is_set():
            raise KeyboardInterrupt
        self.signal = number
        self.halt.set()
        # It runs within whatever was interrupted: a reader that is gone must not fail a trial.
        with suppress(OSError):
            click.echo("stopping: running steps are finished and saved; again to abort", err=True)

    @property
    def exit_code(self) -> int:
        """Return what a shell expects after this signal."""
        return 128 + (self.signal or signal.SIGINT)


@contextmanager
def interruptible(signals: Sequence[int] = SIGNALS) -> Iterator[Interrupt]:
    """Handle signals for the time of a search; outside the main thread nothing may handle them."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before: dict[int, Any] = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
