"""Plot regret against full runs as one self-contained SVG file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from autotune.bench.search.compare import FLOOR, Spread, spreads
from autotune.bench.search.repeat import Record

WIDTH, HEIGHT, GAP = 460, 340, 30
LEFT, RIGHT, TOP, BOTTOM = 60, 110, 40, 45
# Okabe and Ito's colours, which colour-blind people can tell apart.
COLORS = (
    *("#d55e00", "#0072b2", "#56b4e9", "#009e73", "#cc79a7"),
    *("#e69f00", "#000000", "#999999", "#f0e442"),
)


def picture(records: Sequence[Record], checkpoints: Sequence[float]) -> str:
    """Return one panel per table: medians as lines, their intervals as bands."""
    width = len(records) * (WIDTH + GAP)
    panels = ("".join(_panel(record, checkpoints)) for record in records)
    parts = [
        f'<g transform="translate({i * (WIDTH + GAP)},0)">{panel}</g>'
        for i, panel in enumerate(panels)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" '
        f'width="{width}" height="{HEIGHT}" font-family="sans-serif" font-size="11">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """Both axes, logarithmic."""

    runs: tuple[float, float]
    regret: tuple[float, float]

    def x(self, runs: float) -> float:
        """Return the x position of a number of full runs."""
        return LEFT + _part(runs, *self.runs) * (WIDTH - LEFT - RIGHT)

    def y(self, regret: float) -> float:
        """Return the y position of a regret."""
        part = _part(max(regret, self.regret[0]), *self.regret)
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)


def _part(value: float, low: float, high: float) -> float:
    return math.log(value / low) / math.log(high / low) if high > low else 0.5


def _panel(record: Record, checkpoints: Sequence[float]) -> Iterator[str]:
    found = {name: spreads(regrets) for name, regrets in record.regrets.items()}
    known = [spread for line in found.values() for spread in line if spread]
    low = max(FLOOR, min((spread.low for spread in known), default=FLOOR))
    high = max((spread.high for spread in known), default=1.0)
    # Whole powers of ten, at least two of them.
    first = math.floor(math.log10(low))
    last = max(first + 1, math.ceil(math.log10(max(high, low))))
    scale = _Scale(runs=(checkpoints[0], checkpoints[-1]), regret=(10.0**first, 10.0**last))
    yield f'<text x="{LEFT}" y="20" font-size="13">{escape(record.table)}</text>'
    yield from _axes(scale, checkpoints)
    for i, (name, line) in enumerate(found.items()):
        yield from _line(scale, checkpoints, line, COLORS[i % len(COLORS)])
        y = TOP + 12 + 16 * i
        yield f'<rect x="{WIDTH - RIGHT + 15}" y="{y - 9}" width="10" height="10" '
        yield f'fill="{COLORS[i % len(COLORS)]}"/>'
        yield f'<text x="{WIDTH - RIGHT + 30}" y="{y}">{escape(name)}</text>'


def _axes(scale: _Scale, checkpoints: Sequence[float]) -> Iterator[str]:
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
    low, high = scale.regret
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        y = scale.y(10.0**power)
        yield f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
    for runs in checkpoints:
        x = scale.x(runs)
        yield f'<path d="M{x:.1f} {TOP}V{floor}" stroke="#eee"/>'
        yield f'<text x="{x:.1f}" y="{floor + 16}" text-anchor="middle">{runs:g}</text>'
    middle = (LEFT + right) / 2
    yield f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">full runs spent</text>'
    yield f'<text transform="translate(14,{(TOP + floor) / 2}) rotate(-90)" '
    yield 'text-anchor="middle">median normalised regret</text>'


def _line(
    scale: _Scale, checkpoints: Sequence[float], line: Sequence[Spread | None], color: str
) -> Iterator[str]:
    points = [(scale.x(runs), spread) for runs, spread in zip(checkpoints, line, strict=True)]
    there = [(x, spread) for x, spread in points if spread]
    if not there:
        return
    around = [(x, scale.y(s.low)) for x, s in there]
    around += [(x, scale.y(s.high)) for x, s in reversed(there)]
    yield f'<polygon points="{_points(around)}" fill="{color}" opacity="0.12"/>'
    middle = _points([(x, scale.y(s.median)) for x, s in there])
    yield f'<polyline points="{middle}" fill="none" stroke="{color}" stroke-width="2"/>'


def _points(pairs: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in pairs)
