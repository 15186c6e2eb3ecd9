"""Workers and all that they start end together: each worker leads a process group of its own.

A worker that is killed cannot end what its task has started, such as the processes of a data
loader, so the group is killed. If this process is killed itself, a small process that waits for
that, the watchman, kills the groups.

A session of its own, too: neither Ctrl-C nor a closing terminal reaches a worker, and a signal to
the command's process group does not either.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from multiprocessing.process import BaseProcess

# Read what groups there are until the end of stdin, which is the end of the process that writes.
_WATCHMAN = """
import os, signal, sys
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
groups = set()
for line in sys.stdin:
    (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""


def lead() -> None:
    """Make this process the leader of a new group and session, where the system has them."""
    if hasattr(os, "setsid"):
        with suppress(PermissionError):  # it is one
            os.setsid()


def kill(process: BaseProcess) -> None:
    """Kill a worker, if it is still there, and all that it started."""
    with suppress(ValueError):  # it was closed
        process.kill()
        if process.pid is not None and hasattr(os, "killpg"):
            # There is no group before the worker leads one, and none after its last process.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


class Watchman:
    """Kills the groups of workers when this process ends without having done so."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        if hasattr(os, "killpg") and sys.executable:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _WATCHMAN],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )

    def watch(self, process: BaseProcess) -> None:
        """Take a worker in."""
        self._write(f"+{process.pid}")

    def release(self, process: BaseProcess) -> None:
        """Forget a worker: its number may soon be another's."""
        self._write(f"-{process.pid}")

    def close(self) -> None:
        """End the watchman and whatever group it still knows; may be called twice."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _write(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):  # somebody killed it
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
