"""From the turns of a contest to its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from statistics import median
from typing import Any

from autotune.bench.step import arithmetic
from autotune.bench.step.contender import Contender, Entrant, Own
from autotune.bench.step.contest import Contest, Turn
from autotune.bench.step.first import First
from autotune.bench.step.lineup import Lineup
from autotune.bench.step.peers import Peer
from autotune.bench.step.plan import Plan, Stage
from autotune.bench.step.result import PeerRow, Result, Row, Streaming

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
    seen = arithmetic.bandwidth(list(chain(*turns.values())), contest.stream.size)
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
    ms, host = arithmetic.milliseconds(turns), arithmetic.host_milliseconds(turns)
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
        "host_bound": arithmetic.host_bound(turns),
        "us_per_tensor": 1e3 * ms.median / len(stage.tensors),
        "bytes_per_param": traffic.total,
        "state_bytes_per_param": traffic.state,
        "stream_fraction": arithmetic.share(turns, traffic.total * stage.parameters, size),
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
        ratios={peer: arithmetic.ratio(turns[name], turns[peer]) for peer in peers},
        **timings[name],
    )


def _peer(entrant: Entrant[Peer], timings: Mapping[str, dict[str, Any]]) -> PeerRow:
    contender = entrant.contender
    return PeerRow(peer=contender.name, optimizer=contender.rule, **timings[contender.name])
