"""What a benchmark of steps found, as plain data, and the arithmetic from durations to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median
from typing import Any

import numpy as np

from autotune.bench.step.first_step import FirstStep
from autotune.bench.step.implementations import Own, OwnOrPeer, Peer
from autotune.bench.step.selection import Probed, Selection
from autotune.bench.step.timing import Benchmark, Repeat
from autotune.bench.step.workload import Options, Workload


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long the steps of one implementation took.

    ``stream_fraction`` is ``bytes_per_param``, which is the least a step must move, over its time,
    as a share of the bandwidth of the stream beside it. On a GPU ``ms`` is the device's time alone,
    unless ``host_bound`` tells that it may have waited for the host in most of the steps.
    """

    shapes: str
    dtype: str
    ms: float
    ms_min: float
    ms_q1: float
    ms_q3: float
    noisy: bool
    host_ms: float
    host_bound: bool = False
    us_per_tensor: float
    bytes_per_param: float
    state_bytes_per_param: float
    stream_fraction: float
    peak_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Row(Timing):
    """One of our optimizers on one backend.

    ``ratios`` says how many times as long each peer's step takes.
    """

    optimizer: str
    backend: str
    first_step_s: float | None
    next_first_step_s: float | None
    ratios: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class PeerRow(Timing):
    """Somebody else's optimizer, and ours that computes the same."""

    peer: str
    optimizer: str


@dataclass(frozen=True, kw_only=True)
class Streaming:
    """The bandwidth steps are compared with, in GB/s."""

    kind: str
    gb_per_s: float
    gb_per_s_q1: float
    gb_per_s_q3: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """A benchmark of steps.

    ``torch_first_s`` is what PyTorch itself takes for the first optimizer of a process.
    ``not_installed`` names packages, and ``absent`` reasons, by who could not be measured.
    """

    machine: Mapping[str, Any]
    device: str
    threads: int
    shapes: str
    tensors: int
    parameters: int
    dtype: str
    rounds: int
    rounds_planned: int
    stream: Streaming
    torch_first_s: float | None
    rows: tuple[Row, ...]
    peers: tuple[PeerRow, ...]
    not_installed: Mapping[str, str]
    absent: Mapping[str, str]


NOISY = 0.1  # of the median, between the quartiles


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A median, the least value and the quartiles."""

    median: float
    least: float
    lower: float
    upper: float

    @property
    def noisy(self) -> bool:
        """Whether half of the values lie further apart than a tenth of their median."""
        return self.upper - self.lower > NOISY * self.median


def spread(values: Sequence[float]) -> Spread:
    """Return how values are spread."""
    lower, middle, upper = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    return Spread(median=middle, least=min(values), lower=lower, upper=upper)


def milliseconds(repeats: Sequence[Repeat]) -> Spread:
    """Return how long steps took."""
    return spread([1e3 * duration.seconds for repeat in repeats for duration in repeat.steps])


def host_milliseconds(repeats: Sequence[Repeat]) -> Spread:
    """Return how long it took until the steps' calls returned."""
    return spread([1e3 * duration.host for repeat in repeats for duration in repeat.steps])


def host_bound(repeats: Sequence[Repeat]) -> bool:
    """Whether the device may have waited for the host in most of the steps."""
    return median(duration.host_bound for repeat in repeats for duration in repeat.steps) > 0.5


def bandwidth(repeats: Sequence[Repeat], size: int) -> Spread:
    """Return the bytes a second of a stream that moves ``size`` bytes a pass."""
    return spread([size / duration.seconds for repeat in repeats for duration in repeat.streams])


def share(repeats: Sequence[Repeat], moved: float, size: int) -> float:
    """Return the bandwidth of steps that move ``moved`` bytes, over that of the stream beside them.

    Both are medians of one repeat: what slowed a pass of the stream says nothing of another step.
    """
    return median(
        (moved / median(duration.seconds for duration in repeat.steps))
        / (size / median(duration.seconds for duration in repeat.streams))
        for repeat in repeats
    )


def ratio(ours: Sequence[Repeat], theirs: Sequence[Repeat]) -> float:
    """Return how many times as long their step takes as ours, as the median over the rounds."""
    return median(
        median(duration.seconds for duration in their.steps)
        / median(duration.seconds for duration in our.steps)
        for our, their in zip(ours, theirs, strict=True)
    )


Repeats = Mapping[str, Sequence[Repeat]]
FirstSteps = Mapping[str, FirstStep]


def summarise(
    options: Options,
    facts: Mapping[str, Any],
    selected: Selection,
    benchmark: Benchmark,
    first_steps: FirstSteps,
    rounds: int,
) -> Result:
    """Return what the complete rounds of a benchmark found."""
    workload = options.workload
    repeats = {name: every[:rounds] for name, every in benchmark.repeats.items()}
    timings = {
        each.implementation.name: _timing(
            workload, each, repeats[each.implementation.name], benchmark.stream.size
        )
        for each in selected.everyone
    }
    names = [each.implementation.name for each in selected.peers]
    return Result(
        machine=facts,
        device=workload.device,
        threads=workload.threads,
        shapes=workload.shapes,
        tensors=len(workload.tensors),
        parameters=workload.parameters,
        dtype=workload.dtype,
        rounds=rounds,
        rounds_planned=options.rounds,
        stream=_streaming(benchmark, repeats),
        torch_first_s=median(each.torch for each in first_steps.values()) if first_steps else None,
        rows=tuple(_row(e, timings, repeats, names, first_steps) for e in selected.own),
        peers=tuple(_peer(e, timings) for e in selected.peers),
        not_installed=selected.not_installed,
        absent=selected.absent,
    )


def _streaming(benchmark: Benchmark, repeats: Repeats) -> Streaming:
    seen = bandwidth(list(chain(*repeats.values())), benchmark.stream.size)
    return Streaming(
        kind=benchmark.stream.kind,
        gb_per_s=seen.median / 1e9,
        gb_per_s_q1=seen.lower / 1e9,
        gb_per_s_q3=seen.upper / 1e9,
    )


def _timing(
    workload: Workload, each: Probed[OwnOrPeer], repeats: Sequence[Repeat], size: int
) -> dict[str, Any]:
    """Return the fields of ``Timing``."""
    ms, host = milliseconds(repeats), host_milliseconds(repeats)
    traffic = each.traffic
    return {
        "shapes": workload.shapes,
        "dtype": workload.dtype,
        "ms": ms.median,
        "ms_min": ms.least,
        "ms_q1": ms.lower,
        "ms_q3": ms.upper,
        "noisy": ms.noisy,
        "host_ms": host.median,
        "host_bound": host_bound(repeats),
        "us_per_tensor": 1e3 * ms.median / len(workload.tensors),
        "bytes_per_param": traffic.total,
        "state_bytes_per_param": traffic.state,
        "stream_fraction": share(repeats, traffic.total * workload.parameters, size),
        "peak_bytes": max(
            (repeat.peak for repeat in repeats if repeat.peak is not None), default=None
        ),
    }


def _row(
    each: Probed[Own],
    timings: Mapping[str, dict[str, Any]],
    repeats: Repeats,
    peers: Sequence[str],
    first_steps: FirstSteps,
) -> Row:
    name = each.implementation.name
    first = first_steps.get(name)
    return Row(
        optimizer=each.implementation.rule,
        backend=each.implementation.backend,
        first_step_s=None if first is None else first.step,
        next_first_step_s=None if first is None else first.again,
        ratios={peer: ratio(repeats[name], repeats[peer]) for peer in peers},
        **timings[name],
    )


def _peer(each: Probed[Peer], timings: Mapping[str, dict[str, Any]]) -> PeerRow:
    implementation = each.implementation
    return PeerRow(
        peer=implementation.name, optimizer=implementation.rule, **timings[implementation.name]
    )
