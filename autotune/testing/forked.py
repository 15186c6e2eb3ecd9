"""Processes that start at once, forked from a server that has all loaded: the command, or a script.

What a process loads, and how Python starts one, is left to tests that start a Python of their own.
"""

from __future__ import annotations

import atexit
import os
import runpy
import signal
import subprocess
import sys
import threading
from multiprocessing.reduction import DupFd
from pathlib import Path
from types import TracebackType
from typing import IO, Any
from unittest.mock import patch

from autotune.testing.victims import context

_STREAMS = (("stdin", 0, "r", -1), ("stdout", 1, "w", -1), ("stderr", 2, "w", 1))  # as Python's


class Forked:
    """The command ``autotune``, or a script, as ``subprocess.Popen`` has a process.

    It leads a process group; workers of it are forked likewise.

    Args:
        words: Its arguments.
        script: The text of a script that is run in place of the command.
        folder: Where it runs.
        stdin: Descriptor of what it reads; None for nothing.
        stderr: Descriptor of where its errors go; None for a pipe.
    """

    def __init__(
        self,
        *words: str,
        script: str | None = None,
        folder: Path | str = ".",
        stdin: int | None = None,
        stderr: int | None = None,
    ) -> None:
        self.stdout, out = _pipe()
        self.stderr, err = _pipe()
        with open(os.devnull) as nothing:
            read = nothing.fileno() if stdin is None else stdin
            streams = (_Stream(read), _Stream(out), _Stream(err if stderr is None else stderr))
            place = str(Path(folder).resolve())
            arguments = (words, script, place, dict(os.environ), streams)
            self._process = context().Process(target=_run, args=arguments)
            self._process.start()
        os.close(out)
        os.close(err)
        self.pid = int(self._process.pid or 0)

    @property
    def returncode(self) -> int | None:
        """What it ended with; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as SIGKILL does."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Return what it ends with; raises ``subprocess.TimeoutExpired``."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("autotune", timeout or 0.0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; return what was left to read of its output and its errors."""
        found = ["", ""]

        def read(place: int, stream: IO[str]) -> None:
            found[place] = "" if stream.closed else stream.read()

        each = enumerate((self.stdout, self.stderr))
        threads = [threading.Thread(target=read, args=pair, daemon=True) for pair in each]
        for thread in threads:
            thread.start()
        self.wait(timeout)
        for thread in threads:
            thread.join(timeout)
        self.stdout.close()
        self.stderr.close()
        return found[0], found[1]

    def __enter__(self) -> Forked:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wait()
        self.stdout.close()
        self.stderr.close()


class _Stream:
    """A descriptor that a process is given when it starts."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _given, (DupFd(self.number),)


def _given(passed: Any) -> int:
    number: int = passed.detach()
    return number


def _pipe() -> tuple[IO[str], int]:
    reads, writes = os.pipe()
    return open(reads, encoding="utf-8"), writes


def _run(
    words: tuple[str, ...],
    script: str | None,
    folder: str,
    environment: dict[str, str],
    streams: tuple[int, ...],
) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    for name, number, mode, buffering in _STREAMS:
        opened = os.fdopen(number, mode, buffering, closefd=False)
        setattr(sys, name, opened)
        setattr(sys, f"__{name}__", opened)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests under nohup have it ignored
    forked = context()
    try:
        with patch("multiprocessing.get_context", lambda kind: forked):
            sys.argv = ["autotune" if script is None else "-c", *words]
            if script is None:
                runpy.run_module("autotune", run_name="__main__")
            else:
                exec(script, {"__name__": "__main__"})
    finally:
        atexit._run_exitfuncs()
