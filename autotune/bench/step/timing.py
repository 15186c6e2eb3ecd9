"""How long steps take: clocks for hosts and devices, and everyone timed in turns, A B C C B A.

What slows the machine for a while then slows all of them alike.
"""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

import torch

from autotune.bench.step.bandwidth import Stream
from autotune.bench.step.implementations import Implementation, quiet
from autotune.bench.step.workload import Tensors

WARM = 2  # steps before those timed: the first allocates the state, and compiles
TIMED = 3  # steps of a repeat

_CYCLES = 2e9  # a second: about what the clocks of GPUs make
_LEAST, _MOST = 1e-3, 20e-3  # seconds for which the GPU is kept busy before the work


@dataclass(frozen=True, kw_only=True)
class Duration:
    """Seconds that the work took on its device, and until its call returned.

    ``host_bound`` tells that the device came to the work before all of it was queued, so that
    ``seconds`` may hold time in which it waited for the host.
    """

    seconds: float
    host: float
    host_bound: bool = False


class Clock(Protocol):
    """What times a piece of work."""

    def time(self, work: Callable[[], object]) -> Duration:
        """Do the work once and return how long it took."""


class HostClock:
    """Times work that is done when its call returns."""

    def time(self, work: Callable[[], object]) -> Duration:
        """Do the work once and return how long it took."""
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
        return Duration(seconds=seconds, host=seconds)


class DeviceClock:
    """Times work on a GPU, with events, apart from the time that the host takes to queue it.

    The GPU is kept busy while the host queues the work, or it would wait for the host, and that
    would count as its own time.
    """

    def __init__(self) -> None:
        self._busy = _LEAST

    def time(self, work: Callable[[], object]) -> Duration:
        """Do the work once and return how long it took."""
        begin, end = _event(), _event()
        torch.cuda.synchronize()
        torch.cuda._sleep(int(_CYCLES * self._busy))  # type: ignore[no-untyped-call]
        begin.record()
        start = time.perf_counter()
        work()
        host = time.perf_counter() - start
        host_bound = begin.query()
        end.record()
        torch.cuda.synchronize()
        if host_bound:
            self._busy = min(max(self._busy, 1.5 * host), _MOST)
        return Duration(seconds=begin.elapsed_time(end) / 1e3, host=host, host_bound=host_bound)


def median_duration(clock: Clock, work: Callable[[], object], count: int) -> Duration:
    """Return the median of so many durations, after two to warm up."""
    durations = [clock.time(work) for _ in range(2 + count)][2:]
    return Duration(
        seconds=median(duration.seconds for duration in durations),
        host=median(duration.host for duration in durations),
        host_bound=median(duration.host_bound for duration in durations) > 0.5,
    )


def _event() -> Any:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def clock(device: str) -> Clock:
    """Return the clock for a device."""
    return DeviceClock() if device == "cuda" else HostClock()


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """An implementation's timed steps in one round, each beside a pass of the stream."""

    steps: tuple[Duration, ...]
    streams: tuple[Duration, ...]
    peak: int | None = None  # bytes of device memory it took above what was there before


@dataclass(kw_only=True)
class Benchmark:
    """Implementations to be timed, and with what.

    Each is built anew for each of its repeats, so that only one holds state at a time.
    """

    implementations: Sequence[Implementation]
    tensors: Tensors
    stream: Stream
    clock: Clock
    memory: Callable[[], AbstractContextManager[Callable[[], int | None]]]
    repeats: dict[str, list[Repeat]] = field(default_factory=lambda: defaultdict(list))

    def run(self, rounds: int) -> Iterator[int]:
        """Time everyone once a round, in alternating order; yield each round that is complete."""
        gc.freeze()  # what is there already is not searched for garbage between repeats
        try:
            for number in range(rounds):
                order = self.implementations if number % 2 == 0 else self.implementations[::-1]
                complete = {each.name: self._repeat(each) for each in order}
                for name, repeat in complete.items():
                    self.repeats[name].append(repeat)
                yield number + 1
        finally:
            gc.unfreeze()

    def _repeat(self, implementation: Implementation) -> Repeat:
        with quiet(), self.memory() as peak:
            optimizer = implementation.build(self.tensors.params)
            for _ in range(WARM):
                self.tensors.renew()
                optimizer.step()
            pairs = [self._pair(optimizer.step) for _ in range(TIMED)]
            used = peak()
        del optimizer
        gc.collect()
        steps, streams = zip(*pairs, strict=True)
        return Repeat(steps=steps, streams=streams, peak=used)

    def _pair(self, step: Callable[[], object]) -> tuple[Duration, Duration]:
        stream = self.clock.time(self.stream)
        self.tensors.renew()
        return self.clock.time(step), stream
