"""A part of a measurement in a process of its own: what hangs or breaks there costs that part only.

After an illegal access, for instance, a process can use its GPU no more.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from autotune.tasks.mistakes import described

Row = Mapping[str, Any]
Late = Callable[[], bool]  # whether the time of a section is up

_GRACE = 15.0  # seconds that a section which is late may take to tell what it has
_LEAST = 5.0  # seconds left below which no section is begun
_STOPPED = "its time was up"


@dataclass(frozen=True, kw_only=True)
class Section:
    """What is measured row by row, and how many seconds that may take."""

    name: str
    seconds: float
    rows: Callable[[Late], Iterable[Row]]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The rows that a section measured in time, and why there are no more."""

    name: str
    seconds: float
    rows: tuple[Row, ...]
    error: str | None


def measure(section: Section, left: float) -> Found:
    """Measure a section in a process of its own, within its seconds and those left to all."""
    if left < _LEAST:
        return Found(name=section.name, seconds=0.0, rows=(), error="no time was left")
    start = time.monotonic()
    seconds = min(section.seconds, left)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, section, seconds))
    process.start()
    theirs.close()
    rows: list[Row] = []
    try:
        error = _received(ours, rows, start + min(seconds + _GRACE, left))
    finally:
        _end(process)
    took = time.monotonic() - start
    return Found(name=section.name, seconds=took, rows=tuple(rows), error=error)


def _received(pipe: Connection, rows: list[Row], until: float) -> str | None:
    """Collect rows until the section ends; return why, if it is not done."""
    try:
        while pipe.poll(max(0.0, until - time.monotonic())):
            said: Row | str | None = pipe.recv()
            if said is None or isinstance(said, str):
                return said
            rows.append(said)
    except EOFError:
        return "its process died"
    return _STOPPED


def _end(process: BaseProcess) -> None:
    process.kill()
    process.join()
    process.close()


def _child(pipe: Connection, section: Section, seconds: float) -> None:
    """Send each row as soon as it is measured, then nothing or why there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    torch.backends.cudnn.allow_tf32 = False  # what is called float32 is measured as float32
    until = time.monotonic() + seconds

    def late() -> bool:
        return time.monotonic() > until

    try:
        for row in section.rows(late):
            pipe.send(row)
            if late():
                return pipe.send(_STOPPED)
        pipe.send(None)
    except Exception as error:  # the other sections are still to be measured
        traceback.print_exc()
        pipe.send(described(error))


def tried(names: Row, work: Callable[[], Row]) -> Row:
    """Return a row of names and what the work found, or why it found nothing."""
    try:
        return {**names, **work()}
    except Exception as error:  # the other rows are still to be measured
        traceback.print_exc()
        return {**names, "error": described(error)}
