"""Handle signals that ask a search to stop: the first saves and stops it, the second ends it.

Besides Ctrl-C these are SIGTERM (timeout, batch systems, service managers), SIGHUP (a terminal that
closes) and SIGUSR1 (batch systems, some time before SIGTERM).
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from autotune.cli.shared.stderr import tell
from autotune.errors import SIGNALS, Abort

# Programs signal twice: timeout a process and its group, a shell and the system at a closing
# terminal. Only a person who presses Ctrl-C means it within so many seconds.
TWICE = 1.0


class _Halt(threading.Event):
    """An event that a signal handler may set.

    The lock of ``threading.Event`` may be held by the code that the signal interrupted, which would
    then wait for itself. Putting into a ``SimpleQueue`` takes none.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_set, self._news = False, SimpleQueue[None]()

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        self._news.put(None)

    def clear(self) -> None:
        raise NotImplementedError("a search that was told to stop stays so")

    def wait(self, timeout: float | None = None) -> bool:
        if not self._is_set:
            with suppress(Empty):
                self._news.get(timeout=timeout)
                self._news.put(None)  # for whoever else waits
        return self._is_set


class Interrupt:
    """The signal that was received, if any; the first one sets ``halt``."""

    def __init__(self) -> None:
        self.halt = _Halt()
        self.signal: int | None = None
        self.over = False  # the search has ended: only its result is left to print
        self._received = 0.0
        self._taken: list[int] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal; raises Abort at the second one."""
        if self.over:
            return
        now = time.monotonic()
        if self.halt.is_set():
            if number != signal.SIGINT and now - self._received < TWICE:
                return
            raise Abort
        self.signal, self._received = number, now
        self.halt.set()
        # This runs inside the interrupted code: a closed stderr must not fail a trial.
        tell("stopping: finishing the current steps and saving; again to abort")

    def take(self, signals: Sequence[int]) -> dict[int, Any]:
        """Handle signals from now on; return their handlers before.

        What is ignored from the start, as by nohup, stays ignored.
        """
        hangup = getattr(signal, "SIGHUP", None)
        ignored = hangup is not None and signal.getsignal(hangup) is signal.SIG_IGN
        self._taken = [number for number in signals if not (ignored and number == hangup)]
        return {number: signal.signal(number, self) for number in self._taken}

    def keep(self) -> None:
        """Take the signals back from a user's code that has handlers of its own."""
        for number in self._taken:
            if signal.getsignal(number) is not self:
                signal.signal(number, self)

    def keeping(self, listen: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return a listener that takes the signals back at each event."""

        def heard(event: Any) -> None:
            self.keep()
            listen(event)

        return heard

    @property
    def exit_code(self) -> int:
        """Return the exit code that shells expect after this signal."""
        return 128 + (self.signal or signal.SIGINT)


def unclaimed() -> tuple[int, ...]:
    """Return Ctrl-C's signal, and those of the others that nobody in this process handles."""
    return tuple(
        number
        for number in SIGNALS
        if number == signal.SIGINT or signal.getsignal(number) is signal.SIG_DFL
    )


@contextmanager
def interruptible(signals: Sequence[int] = SIGNALS) -> Iterator[Interrupt]:
    """Handle signals for the time of a search; outside the main thread nothing may handle them."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = interrupt.take(signals)
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
