"""The result of ``autotune bench step`` as text: two tables, and sentences that conclude."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from autotune.bench.step.results import Result, Row, Timing
from autotune.cli.views import format
from autotune.cli.views.table import table

_EQUAL = 0.05  # times that differ by less count as equal
_MOST_NAMES = 8  # in one sentence
_VERSIONS = ("torch", "triton", "numba")


def report(result: Result) -> str:
    """Write a result."""
    parts = ["\n".join(_opening(result)), table([*_our_rows(result)])]
    if result.peers:
        parts.append(table([*_peer_rows(result)]))
    return "\n\n".join([*parts, "\n".join(conclusions(result))])


def _opening(result: Result) -> Iterator[str]:
    machine, packages, stream = result.machine, result.machine["packages"], result.stream
    versions = ", ".join(f"{name} {packages[name]}" for name in _VERSIONS if name in packages)
    yield (
        f"{machine['device']} ({result.device}), {_counted(result.threads, 'thread')}, {versions}, "
        f"{format.moment(machine['date'])}, commit {machine['commit'] or format.NONE}"
    )
    yield (
        f"{result.shapes}: {result.tensors:,} tensors, {result.parameters:,} parameters in "
        f"{result.dtype}; {result.rounds} of {_counted(result.rounds_planned, 'round')}"
    )
    yield (
        f"stream: {stream.kind} at {stream.gb_per_s:,.1f} GB/s, "
        f"quartiles {stream.gb_per_s_q1:,.1f} to {stream.gb_per_s_q3:,.1f}"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else format.number(value)


def _our_rows(result: Result) -> Iterator[tuple[str, ...]]:
    yield (
        "optimizer", "backend", *_measures(result),
        "first s", "again s", "fastest peer of its rule",
    )  # fmt: skip
    for row in result.rows:
        yield (
            row.optimizer,
            row.backend,
            *_measured(result, row),
            format.number(row.first_step_s),
            format.number(row.next_first_step_s),
            _against_fastest(result, row),
        )


def _peer_rows(result: Result) -> Iterator[tuple[str, ...]]:
    yield ("peer", "its rule", *_measures(result))
    for row in sorted(result.peers, key=lambda row: (row.optimizer, row.ms)):
        yield (row.peer, row.optimizer, *_measured(result, row))


def _measures(result: Result) -> tuple[str, ...]:
    host = ("host ms", "peak GB") if result.device == "cuda" else ()
    return ("ms", "quartiles", *host, "bytes/param", "of stream", "us/tensor")


def _measured(result: Result, row: Timing) -> tuple[str, ...]:
    host = (format.number(row.host_ms), format.number((row.peak_bytes or 0) / 1e9))
    return (
        _figure(row.ms),
        f"{_figure(row.ms_q1)}-{_figure(row.ms_q3)}",
        *(host if result.device == "cuda" else ()),
        format.number(row.bytes_per_param),
        format.percent(row.stream_fraction),
        _figure(row.us_per_tensor),
    )


def _fastest(result: Result, row: Row) -> str | None:
    """Return the fastest peer of the same rule."""
    peers = [peer.peer for peer in result.peers if peer.optimizer == row.optimizer]
    return min(peers, key=lambda peer: row.ratios[peer], default=None)


def _against_fastest(result: Result, row: Row) -> str:
    peer = _fastest(result, row)
    return format.NONE if peer is None else f"{format.number(row.ratios[peer])}x {peer}"


def conclusions(result: Result) -> Iterator[str]:
    """Yield the conclusions, a sentence each."""
    for backend in dict.fromkeys(row.backend for row in result.rows):
        yield _bandwidth([row for row in result.rows if row.backend == backend])
    if result.torch_first_s is not None:
        yield (
            "first steps include imports and compilation; PyTorch's own "
            f"{format.number(result.torch_first_s)} s for a process's first optimizer come on top"
        )
    for rule in dict.fromkeys(row.optimizer for row in result.rows):
        best = min((row for row in result.rows if row.optimizer == rule), key=lambda row: row.ms)
        peer = _fastest(result, best)
        if peer is not None:
            yield _ratio(best, peer)
    yield from _adan(result)
    yield from _noisy(result)
    yield from _host_bound(result)
    yield from _not_measured(result)


def _bandwidth(rows: Sequence[Row]) -> str:
    least, most = (pick(rows, key=lambda row: row.stream_fraction) for pick in (min, max))
    if least is most:
        return (
            f"{least.optimizer} on {least.backend} runs at "
            f"{format.percent(least.stream_fraction)} of the streaming bandwidth"
        )
    return (
        f"{least.backend} runs at {format.percent(least.stream_fraction)} ({least.optimizer}) to "
        f"{format.percent(most.stream_fraction)} ({most.optimizer}) of the streaming bandwidth"
    )


def _ratio(row: Row, peer: str) -> str:
    ratio = row.ratios[peer]
    if abs(ratio - 1) < _EQUAL:
        return f"{row.optimizer}: {row.backend} and {peer} are equally fast, within 5 %"
    if ratio < 1:
        return (
            f"{row.optimizer}: {peer} is {format.number(1 / ratio)} times as fast as "
            f"{row.backend}, our fastest"
        )
    return (
        f"{row.optimizer}: {row.backend} is {format.number(ratio)} times as fast as {peer}, "
        "the fastest peer of its rule"
    )


def _adan(result: Result) -> Iterator[str]:
    """Compare our optimizers with the fastest Adan of others, who seldom offer the rest."""
    best: dict[str, Row] = {}
    for row in sorted(result.rows, key=lambda row: -row.ms):
        best[row.optimizer] = row
    peers = [peer for peer in result.peers if peer.optimizer == "adan"]
    if not peers or len(best) < 2:
        return
    peer = min(peers, key=lambda peer: peer.ms).peer
    least, most = (pick(best.values(), key=lambda row: row.ratios[peer]) for pick in (min, max))
    yield (
        f"a step of {peer}, the fastest Adan of others, takes "
        f"{format.number(least.ratios[peer])} ({least.optimizer}) to "
        f"{format.number(most.ratios[peer])} ({most.optimizer}) times as long as ours"
    )


def _noisy(result: Result) -> Iterator[str]:
    noisy = _named(result, lambda row: row.noisy)
    if noisy:
        yield (
            f"noisy, with quartiles over a tenth of the median apart: {noisy}; "
            "measure again on a quieter machine"
        )


def _host_bound(result: Result) -> Iterator[str]:
    waiting = _named(result, lambda row: row.host_bound)
    if waiting:
        yield f"the GPU may have waited for the host, which then counts in ms: {waiting}"


def _named(result: Result, chosen: Callable[[Timing], bool]) -> str:
    """Return the names of the chosen rows, or their number if they are many."""
    named = [f"{row.optimizer} {row.backend}" for row in result.rows if chosen(row)]
    named += [row.peer for row in result.peers if chosen(row)]
    everyone = len(result.rows) + len(result.peers)
    return ", ".join(named) if len(named) <= _MOST_NAMES else f"{len(named)} of {everyone} rows"


def _not_measured(result: Result) -> Iterator[str]:
    if result.not_installed:
        yield f"not installed: {', '.join(dict.fromkeys(result.not_installed.values()))}"
    for name, reason in result.absent.items():
        yield f"not measured: {name}: {reason}"
