"""What a benchmark of steps found, as plain data, and the arithmetic from durations to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median
from typing import Any

import numpy as np

from autotune.bench.step.first_step import First
from autotune.bench.step.implementations import Contender, Own, Peer
from autotune.bench.step.selection import Entrant, Lineup
from autotune.bench.step.timing import Contest, Turn
from autotune.bench.step.workload import Plan, Stage


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long the steps of one contender took.

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


def milliseconds(turns: Sequence[Turn]) -> Spread:
    """Return how long steps took."""
    return spread([1e3 * lap.seconds for turn in turns for lap in turn.steps])


def host_milliseconds(turns: Sequence[Turn]) -> Spread:
    """Return how long it took until the steps' calls returned."""
    return spread([1e3 * lap.host for turn in turns for lap in turn.steps])


def host_bound(turns: Sequence[Turn]) -> bool:
    """Whether the device may have waited for the host in most of the steps."""
    return median(lap.host_bound for turn in turns for lap in turn.steps) > 0.5


def bandwidth(turns: Sequence[Turn], size: int) -> Spread:
    """Return the bytes a second of a stream that moves ``size`` bytes a pass."""
    return spread([size / lap.seconds for turn in turns for lap in turn.streams])


def share(turns: Sequence[Turn], moved: float, size: int) -> float:
    """Return the bandwidth of steps that move ``moved`` bytes, over that of the stream beside them.

    Both are medians of a turn: what slowed one pass of the stream says nothing about another step.
    """
    return median(
        (moved / median(lap.seconds for lap in turn.steps))
        / (size / median(lap.seconds for lap in turn.streams))
        for turn in turns
    )


def ratio(ours: Sequence[Turn], theirs: Sequence[Turn]) -> float:
    """Return how many times as long their step takes as ours, as the median over the rounds."""
    return median(
        median(lap.seconds for lap in their.steps) / median(lap.seconds for lap in our.steps)
        for our, their in zip(ours, theirs, strict=True)
    )


Turns = Mapping[str, Sequence[Turn]]
Firsts = Mapping[str, First]


def result(
    plan: Plan,
    facts: Mapping[str, Any],
    present: Lineup,
    contest: Contest,
    firsts: Firsts,
    rounds: int,
) -> Result:
    """Return what the complete rounds of a contest found."""
    stage = plan.stage
    turns = {name: played[:rounds] for name, played in contest.turns.items()}
    timings = {
        entrant.contender.name: _timing(
            stage, entrant, turns[entrant.contender.name], contest.stream.size
        )
        for entrant in present.everyone
    }
    names = [entrant.contender.name for entrant in present.peers]
    return Result(
        machine=facts,
        device=stage.device,
        threads=stage.threads,
        shapes=stage.shapes,
        tensors=len(stage.tensors),
        parameters=stage.parameters,
        dtype=stage.dtype,
        rounds=rounds,
        rounds_planned=plan.rounds,
        stream=_streaming(contest, turns),
        torch_first_s=median(each.torch for each in firsts.values()) if firsts else None,
        rows=tuple(_row(e, timings, turns, names, firsts) for e in present.own),
        peers=tuple(_peer(e, timings) for e in present.peers),
        not_installed=present.not_installed,
        absent=present.absent,
    )


def _streaming(contest: Contest, turns: Turns) -> Streaming:
    seen = bandwidth(list(chain(*turns.values())), contest.stream.size)
    return Streaming(
        kind=contest.stream.kind,
        gb_per_s=seen.median / 1e9,
        gb_per_s_q1=seen.lower / 1e9,
        gb_per_s_q3=seen.upper / 1e9,
    )


def _timing(
    stage: Stage, entrant: Entrant[Contender], turns: Sequence[Turn], size: int
) -> dict[str, Any]:
    """Return the fields of ``Timing``."""
    ms, host = milliseconds(turns), host_milliseconds(turns)
    traffic = entrant.traffic
    return {
        "shapes": stage.shapes,
        "dtype": stage.dtype,
        "ms": ms.median,
        "ms_min": ms.least,
        "ms_q1": ms.lower,
        "ms_q3": ms.upper,
        "noisy": ms.noisy,
        "host_ms": host.median,
        "host_bound": host_bound(turns),
        "us_per_tensor": 1e3 * ms.median / len(stage.tensors),
        "bytes_per_param": traffic.total,
        "state_bytes_per_param": traffic.state,
        "stream_fraction": share(turns, traffic.total * stage.parameters, size),
        "peak_bytes": max((turn.peak for turn in turns if turn.peak is not None), default=None),
    }


def _row(
    entrant: Entrant[Own],
    timings: Mapping[str, dict[str, Any]],
    turns: Turns,
    peers: Sequence[str],
    firsts: Firsts,
) -> Row:
    name = entrant.contender.name
    first = firsts.get(name)
    return Row(
        optimizer=entrant.contender.rule,
        backend=entrant.contender.backend,
        first_step_s=None if first is None else first.step,
        next_first_step_s=None if first is None else first.again,
        ratios={peer: ratio(turns[name], turns[peer]) for peer in peers},
        **timings[name],
    )


def _peer(entrant: Entrant[Peer], timings: Mapping[str, dict[str, Any]]) -> PeerRow:
    contender = entrant.contender
    return PeerRow(peer=contender.name, optimizer=contender.rule, **timings[contender.name])
