"""What a task prints in a worker: whole lines, and nothing where nobody reads any more."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import TextIO, cast

LONGEST = 65_536  # bytes of a line that are kept


class _Lines(io.RawIOBase):
    """A file of the system that gets whole lines at once, so that those of processes stay apart."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._kept = b""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Leave what is kept to the process that kept it."""
        self._kept = b""

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the number of the file."""
        return self._number

    def isatty(self) -> bool:
        """Return whether a person sees it."""
        return os.isatty(self._number)

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """Keep what is written until its line ends, and then pass it on."""
        lines, end, self._kept = (self._kept + bytes(data)).rpartition(b"\n")
        if end:
            self._pass_on(lines + end)
        # A progress bar writes over its line: its last state is what is left of it.
        self._kept = self._kept[self._kept.rfind(b"\r", 0, -1) + 1 :]
        if len(self._kept) > LONGEST:
            self._pass_on(self._kept)
            self._kept = b""
        return len(data)

    def close(self) -> None:
        """Pass on what is left, as a line."""
        if self._kept and not self.closed:
            self._pass_on(self._kept + b"\n")
            self._kept = b""
        super().close()

    def _pass_on(self, text: bytes) -> None:
        # Who reads may be gone, as after "| head" or with a closed terminal.
        with suppress(OSError):
            while text:
                text = text[os.write(self._number, text) :]


def whole_lines(number: int) -> TextIO:
    """Return a text stream into a file of the system, for ``sys.stdout`` or ``sys.stderr``."""
    stream = io.TextIOWrapper(
        cast(io.BufferedWriter, _Lines(number)),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
        write_through=True,
    )
    return cast(TextIO, stream)


@contextmanager
def apart() -> Iterator[None]:
    """Write what is printed inside to this process's stderr in whole lines, apart from messages."""
    if sys.stderr is None or sys.stderr is not sys.__stderr__:
        yield  # a notebook's or a test's
        return
    with whole_lines(2) as stream, redirect_stderr(stream):
        yield
