"""Handle Ctrl-C and SIGTERM: the first one saves and stops a search, the second ends it at once."""

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
    """The signal that was received, if any; the first one sets ``halt``."""

    def __init__(self) -> None:
        self.halt = threading.Event()
        self.signal: int | None = None
        self.over = False  # the search has ended: only its result is left to print

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.over:
            return
        if self.halt.is_set():
            raise KeyboardInterrupt
        self.signal = number
        self.halt.set()
        # This runs inside the interrupted code: a closed stderr must not fail a trial.
        with suppress(OSError):
            click.echo(
                "stopping: finishing the current steps and saving; again to abort",
                err=True,
            )

    @property
    def exit_code(self) -> int:
        """Return the exit code that shells expect after this signal."""
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
