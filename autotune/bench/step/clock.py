"""How long something takes, on the host and on the device."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch


@dataclass(frozen=True, kw_only=True)
class Lap:
    """Seconds until the work was done, and until its call returned."""

    seconds: float
    host: float


class Clock(Protocol):
    """What times a piece of work."""

    def lap(self, work: Callable[[], object]) -> Lap:
        """Do the work once and return how long it took."""


class HostClock:
    """Times work that is done when its call returns."""

    def lap(self, work: Callable[[], object]) -> Lap:
        """Do the work once and return how long it took."""
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
        return Lap(seconds=seconds, host=seconds)


class DeviceClock:
    """Times work that is queued on a GPU, from an empty queue, with events."""

    def lap(self, work: Callable[[], object]) -> Lap:
        """Do the work once and return how long it took."""
        begin, end = _event(), _event()
        torch.cuda.synchronize()
        begin.record()
        start = time.perf_counter()
        work()
        host = time.perf_counter() - start
        end.record()
        torch.cuda.synchronize()
        return Lap(seconds=begin.elapsed_time(end) / 1e3, host=host)


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def of(device: str) -> Clock:
    """Return the clock for a device."""
    return DeviceClock() if device == "cuda" else HostClock()
