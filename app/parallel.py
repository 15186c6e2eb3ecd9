"""Parallel coordinates: a line for each setting, one axis for each parameter and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from autotune.app import look, words
from autotune.app.axes import Axis, value
from autotune.app.fidelity import Sample, thinned

LINES = 500
BEST = 0.25  # share of the lines that is coloured


def figure(sample: Sample, axes: Sequence[Axis], colour: str) -> go.Figure:
    """Draw the best quarter of the lines in ``colour``; a drag on an axis filters."""
    # WebGL lines are drawn in order: the best come last and lie on top.
    drawn = thinned(sample, LINES)[::-1]
    losses = [sample.losses[i] for i in drawn]
    trials = [sample.trials[i] for i in drawn]
    dimensions = [_dimension(axis, [value(t, axis.name) for t in trials]) for axis in axes]
    dimensions.append({"label": "validation loss", "values": losses, "tickformat": ".3g"})
    chart = go.Figure(
        go.Parcoords(
            dimensions=dimensions,
            line={
                "color": [int(i < BEST * (len(drawn) - 1)) for i in range(len(drawn))][::-1],
                "colorscale": [[0, look.NEUTRAL], [1, colour]],
                "cmin": 0,
                "cmax": 1,
            },
            unselected={"line": {"opacity": 0.06}},
            rangefont={"color": "rgba(0,0,0,0)"},
            labelfont={"size": 13},
            tickfont={"size": 12},
            labelangle=-20 if len(dimensions) > 5 else 0,
        )
    )
    return chart.update_layout(height=460, margin={"l": 64, "r": 48, "t": 84, "b": 24})


def _dimension(axis: Axis, items: Sequence[float | str | None]) -> dict[str, Any]:
    low, high = _bounds(axis)
    # A parameter that a setting does not have, such as the timescale without decay, lies below.
    absent = low - 0.12 * (high - low)
    missing = any(item is None for item in items)
    places, texts = _ticks(axis, low, high)
    return {
        "label": words.label(axis.name),
        "values": [absent if item is None else axis.place(item) for item in items],
        "range": [absent if missing else low, high],
        "tickvals": [absent, *places] if missing else places,
        "ticktext": ["none", *texts] if missing else texts,
    }


def _bounds(axis: Axis) -> tuple[float, float]:
    if axis.choices:
        return 0.0, float(max(1, len(axis.choices) - 1))
    return axis.place(axis.low), axis.place(axis.high)


def _ticks(axis: Axis, low: float, high: float) -> tuple[list[float], list[str]]:
    """Return tick places and their texts: the values themselves, not their exponents."""
    if axis.choices:
        return [float(i) for i in range(len(axis.choices))], [words.markup(c) for c in axis.choices]
    marks = axis.ticks() if axis.log else [low + i * (high - low) / 4 for i in range(5)]
    return [axis.place(mark) for mark in marks], [words.tick(mark) for mark in marks]
