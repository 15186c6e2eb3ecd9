"""Start and end the processes of commands: also a program that ends them when its owner dies.

Whatever a command starts is found by a mark in its environment, as it may lead a session of its own
(``torchrun`` gives each rank one). Where the system does not show environments (not Linux), only
the command's process group is found.

Run as a program, with the standard library alone: ``keeper.py gate WORD...`` becomes a command when
it is told to; ``keeper.py watch`` reads what runs from stdin, and kills it at its end.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

REPORT = "AUTOTUNE_REPORT"  # variable of a command that holds its mark, which no other has
_ROUNDS = 200  # looks for processes that were started meanwhile
_MISSING, _UNUSABLE = 127, 126  # exit codes of a shell for a command that it cannot run
_IGNORED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


def members(group: int, mark: str) -> list[int]:
    """Return the processes of a command that are alive; where they are not shown, its leader."""
    if not os.path.isdir("/proc/self"):
        return [group] if _there(group) else []
    wanted = f"{REPORT}={mark}".encode()
    return [pid for pid in _pids() if _is_member(pid, group, wanted)]


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _is_member(pid: int, group: int, wanted: bytes) -> bool:
    with suppress(OSError, ValueError, IndexError):
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, _, own_group = file.read().rpartition(b")")[2].split()[:3]
        if state in b"ZX":  # it has ended, only its parent has not looked
            return False
        if int(own_group) == group:
            return True
        with open(f"/proc/{pid}/environ", "rb") as file:
            return wanted in file.read().split(b"\0")
    return False


def _there(group: int) -> bool:
    with suppress(OSError):
        os.killpg(group, 0)
        return True
    return False


def send(group: int, mark: str, number: int) -> None:
    """Send a signal to all processes of a command, and to those that they start meanwhile."""
    told: set[int] = set()
    for _ in range(_ROUNDS):
        with suppress(OSError):
            os.killpg(group, number)
        new = set(members(group, mark)) - told
        for pid in new:
            with suppress(OSError):
                os.kill(pid, number)
        told |= new
        if not new:
            return


def end(group: int, mark: str) -> None:
    """Kill a command and all that it has started, until none of it is left."""
    for _ in range(_ROUNDS):
        send(group, mark, signal.SIGKILL)
        if not members(group, mark):
            return
        time.sleep(0.01)


def _gate(words: list[str]) -> None:
    """Become a command, once the owner has told its keeper of it; an owner that died never does."""
    if not os.read(0, 1):
        return
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores these, which a command would inherit
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execvp(words[0], words)
    except OSError as error:
        sys.stderr.write(f"cannot run {words[0]}: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(_MISSING if isinstance(error, FileNotFoundError) else _UNUSABLE)


def _watch() -> None:
    """Read ``+group mark`` and ``-group`` from stdin until it ends, then kill what is left."""
    for name in _IGNORED:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    running: dict[int, str] = {}
    for line in sys.stdin:
        number, _, mark = line[1:].strip().partition(" ")
        if line[0] == "+":
            running[int(number)] = mark
        else:
            running.pop(int(number), None)
    for group, mark in running.items():
        end(group, mark)


if __name__ == "__main__":
    if sys.argv[1] == "gate":
        _gate(sys.argv[2:])
    else:
        _watch()
