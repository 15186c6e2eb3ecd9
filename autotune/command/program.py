"""A command that runs: started, listened to, paused and ended with all that it has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from autotune.command import keeper
from autotune.command.log import Log
from autotune.command.said import Lines, Malformed, Said

GRACE = 10.0  # seconds to end by itself after SIGTERM
SETTLING = 1.0  # seconds for the last output to arrive
_LOOK = 0.02  # seconds between looks whether it has ended
_READ = 1 << 16  # bytes read at once
_KEEPER = [sys.executable, "-I", "-S", str(Path(keeper.__file__))]


class Program:
    """A running command.

    Args:
        words: The command.
        mark: What is in its environment and in no other, by which its processes are found.
        environment: Its environment.
        log: Where its output goes.
        take: Called in another thread with each report among what it prints, or with what is wrong
            with one.

    Attributes:
        trouble: What went wrong with its log; None if nothing did.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        mark: str,
        environment: Mapping[str, str],
        log: Log,
        take: Callable[[Said | Malformed], None],
    ) -> None:
        self.trouble: str | None = None
        self._over = False
        self._mark, self._log, self._take = mark, log, take
        self._keeper = _started("watch", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._process = _started(
            "gate",
            *words,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**environment, keeper.REPORT: mark},
        )
        self._group = self._process.pid
        _write(self._keeper.stdin, f"+{self._group} {mark}\n")
        _write(self._process.stdin, "go")  # it is watched: from here on nothing of it can be lost
        _close(self._process.stdin)
        self._reader = threading.Thread(target=self._listen, name="autotune-output", daemon=True)
        self._reader.start()

    @property
    def code(self) -> int | None:
        """Return the exit code, minus a signal's number; None while it runs."""
        return self._process.poll()

    def pause(self) -> None:
        """Stop all its processes where they are."""
        keeper.send(self._group, self._mark, signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        keeper.send(self._group, self._mark, signal.SIGCONT)

    def wait(self, seconds: float) -> bool:
        """Wait for the command itself to end; return whether it has."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self.code is not None

    def settle(self) -> None:
        """Wait until the output of a command that has ended is read."""
        self._reader.join(SETTLING)

    def end(self) -> bool:
        """Ask all that is left of it to end, then kill it; return whether it had to be killed.

        May be called again, and then does nothing.
        """
        if self._over:
            return False
        self._over = True
        self.resume()
        with suppress(OSError):
            os.killpg(self._group, signal.SIGTERM)
        killed = not self._gone()
        keeper.end(self._group, self._mark)
        self._process.wait()
        self.settle()
        self._log.close()
        _close(self._process.stdout if not self._reader.is_alive() else None)
        _write(self._keeper.stdin, f"-{self._group}\n")
        _close(self._keeper.stdin)
        self._keeper.wait()
        return killed

    def _gone(self) -> bool:
        """Wait until nothing of it is left; what outlives the command itself is asked, too."""
        deadline, asked = time.monotonic() + GRACE, False
        while keeper.members(self._group, self._mark):
            if time.monotonic() > deadline:
                return False
            if self.code is not None and not asked:
                asked = True
                keeper.send(self._group, self._mark, signal.SIGTERM)
            time.sleep(_LOOK)
        return True

    def _listen(self) -> None:
        """Read the output to its end, whatever comes of it: a full pipe stops the command."""
        lines, pipe = Lines(), self._process.stdout
        while data := os.read(pipe.fileno(), _READ) if pipe else b"":
            self._keep(data)
            self._tell(lines, data)
        self._tell(lines, b"\n")

    def _keep(self, data: bytes) -> None:
        if self.trouble is None:
            try:
                self._log.write(data)
            except (OSError, ValueError) as error:  # no space, or closed by its owner
                self.trouble = f"its log was not written to the end: {error}"

    def _tell(self, lines: Lines, data: bytes) -> None:
        try:
            for one in lines.feed(data):
                self._take(one)
        except Malformed as error:
            self._take(error)


def _started(*words: str, **how: Any) -> subprocess.Popen[bytes]:
    """Start the keeper's program in a session of its own."""
    program = [*_KEEPER, *words]
    return subprocess.Popen(program, stdin=subprocess.PIPE, start_new_session=True, **how)


def _write(pipe: IO[bytes] | None, text: str) -> None:
    if pipe is not None:
        with suppress(OSError, ValueError):  # it has ended, or was closed
            pipe.write(text.encode())
            pipe.flush()


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        with suppress(OSError):
            pipe.close()
