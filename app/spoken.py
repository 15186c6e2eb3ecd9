"""What a figure shows, in words: for readers who cannot see it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import unescape
from itertools import groupby
from typing import Any

import plotly.graph_objects as go
from plotly.basedatatypes import BaseTraceType

from autotune.app import words

SERIES, BARS = 12, 12  # of a figure that are told one by one


def text(chart: go.Figure, says: str) -> str:
    """Return a figure's title, its axes and what is drawn.

    Args:
        chart: The figure.
        says: Its title, such as "judged losses".

    Example: "Curves. validation loss against step. best (trial 8): a line from 4.6 to 1.2."
    """
    drawn = "; ".join(_short(list(_drawn(chart)))) or "nothing is drawn"
    return " ".join(f"{part}." for part in (says, _against(chart), drawn) if part)


def axes(chart: go.Figure) -> tuple[str, str]:
    """Return the titles of the axes below and beside a figure, empty where they have none."""
    below = [title for axis in chart.select_xaxes() if (title := axis.title.text)]
    beside = [title for axis in chart.select_yaxes() if (title := axis.title.text)]
    return unescape(below[-1] if below else ""), unescape(beside[0] if beside else "")


def _against(chart: go.Figure) -> str:
    x, y = axes(chart)
    return f"{y} against {x}" if x and y else x or y


def _short(parts: list[str]) -> list[str]:
    return parts if len(parts) <= SERIES else [*parts[:SERIES], f"{len(parts) - SERIES} more"]


def _drawn(chart: go.Figure) -> Iterator[str]:
    """Yield what there is of each name; shades, and names that nobody can read, are left out."""
    named: dict[str, list[BaseTraceType]] = {}
    for trace in chart.data:
        if getattr(trace, "fill", None) != "toself" and trace.name != "":
            named.setdefault(unescape(trace.name or ""), []).append(trace)
    for name, traces in named.items():
        told = _told(traces, titled=bool(axes(chart)[1]))
        if told:
            yield f"{name}: {told}" if name else told


def _told(traces: Sequence[BaseTraceType], *, titled: bool) -> str:
    first = traces[0]
    if first.type == "parcoords":
        labels = [unescape(each.label) for each in first.dimensions]
        return f"{len(first.dimensions[0]['values'])} settings over {'; '.join(labels)}"
    if first.type == "bar":
        return _bars(first)
    if "lines" in (first.mode or ""):
        return _lines([line for trace in traces for line in _unbroken(trace.y)])
    if isinstance(first.marker.color, tuple) and first.marker.color:
        return _coloured(first, first.marker.color)
    points = [point for trace in traces for point in zip(trace.x, trace.y, strict=True)]
    return _points(points, titled=titled) + _interval(first)


def _unbroken(values: Any) -> list[list[float]]:
    """Return the lines of a trace, in which None is the gap between two."""
    gaps = groupby(() if values is None else values, key=lambda value: value is None)
    return [list(line) for gap, line in gaps if not gap]


def _bars(trace: BaseTraceType) -> str:
    if trace.base is not None:  # spans of time
        return f"{len(trace.x)} bars"
    named = zip(trace.x, trace.y, strict=True)
    each = [f"{unescape(y)} {words.number(x)}" for x, y in named]
    more = [f"{len(each) - BARS} more"] if len(each) > BARS else []
    return ", ".join([*each[::-1][:BARS], *more])  # the uppermost bar comes last


def _lines(lines: Sequence[Sequence[float]]) -> str:
    drawn = [line for line in lines if line]
    if not drawn:
        return ""
    if len(drawn) == 1:
        line = drawn[0]
        if len(line) == 1:
            return f"a point at {words.number(line[0])}"
        return f"a line from {words.number(line[0])} to {words.number(line[-1])}"
    return f"{len(drawn)} lines that end {_range([line[-1] for line in drawn])}"


def _points(points: Sequence[tuple[Any, Any]], *, titled: bool) -> str:
    """Tell points by their height; where that is a name, by their place if no axis titles it."""
    if not points:
        return ""
    if isinstance(points[0][1], str):
        if not titled:
            return _values([x for x, _ in points])
        rows = sorted({y for _, y in points})
        noun = "point" if len(points) == 1 else "points"
        return f"{len(points)} {noun}" + (f", {rows[0]}" if len(rows) == 1 else "")
    place, _ = min(points, key=lambda point: point[1])
    lowest = f", the lowest at {words.value(place)}" if len(points) > 1 else ""
    return _values([y for _, y in points]) + lowest


def _values(values: Sequence[float]) -> str:
    return words.number(values[0]) if len(values) == 1 else f"{len(values)} points {_range(values)}"


def _interval(trace: BaseTraceType) -> str:
    """Tell how far the bar of an only point reaches."""
    bars = trace.error_x
    if bars.array is None or len(trace.x) != 1:
        return ""
    low, high = trace.x[0] - bars.arrayminus[0], trace.x[0] + bars.array[0]
    return f", from {words.number(low)} to {words.number(high)}"


def _coloured(trace: BaseTraceType, colours: Sequence[float]) -> str:
    """Tell what points are coloured by, and where the lowest is."""
    best = min(range(len(colours)), key=colours.__getitem__)
    place = ", ".join(map(words.value, (trace.x[best], trace.y[best])))
    return f"{len(colours)} points coloured {_range(colours)}, the lowest at {place}"


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    if low == high:
        return f"at {words.number(low)}"
    return f"between {words.number(low)} and {words.number(high)}"
