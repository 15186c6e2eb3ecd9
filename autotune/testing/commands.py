"""Which processes of users' commands are alive, for tests that kill what started them."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from multiprocessing.queues import Queue
from pathlib import Path

from autotune.command.keeper import REPORT
from autotune.command.report import report


def alive(folder: Path) -> list[str]:
    """Return the command lines of processes that run for trials of searches below a folder."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if not process.name.isdigit() or "\nState:\tZ" in (process / "status").read_text():
                continue
            variables = (process / "environ").read_bytes().split(b"\0")
            own = any(each.startswith(REPORT.encode() + b"=") for each in variables)
            if own and any(str(folder).encode() in each for each in variables):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def left(folder: Path, seconds: float = 5.0) -> list[str]:
    """Return what of it is still alive after some seconds."""
    deadline = time.monotonic() + seconds
    while (found := alive(folder)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def rank(number: int, rendezvous: Path, channel: str, answers: Queue[tuple[int, bool]]) -> None:
    """Report on one rank of two, and put the answer that it gets; a process of its own.

    Args:
        number: The rank.
        rendezvous: File through which the ranks find each other.
        channel: Of the search.
        answers: Where rank and answer go.
    """
    import torch.distributed as dist

    os.environ[REPORT] = channel
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=number, world_size=2)
    for step in (1, 2):
        answers.put((number, report(step, step + 10.0 * number)))
    dist.destroy_process_group()
