"""A trial's learning curve among those of the trials that ranked next to it."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from autotune.app import clock, look
from autotune.app.curves import METRICS, Line, decimate


def among(lines: Sequence[Line], number: int) -> list[Line]:
    """Return the lines with that of a trial last; none where it has none.

    Args:
        lines: Of the trial and those that ranked next to it.
        number: Of the trial.
    """
    own = [line for line in lines if line.trial.number == number]
    return [*(line for line in lines if line.trial.number != number), *own] if own else []


def figure(
    lines: Sequence[Line], colour: str, *, metric: str, against: str = clock.STEP
) -> go.Figure:
    """Draw the last line in colour and the others in grey."""
    chart = go.Figure()
    unit = clock.hover(against)
    for line in lines:
        own = line is lines[-1]
        steps, values = decimate(line.along(against), line.values)
        chart.add_scatter(
            x=steps,
            y=values,
            name=f"trial {line.trial.number}" if own else "ranked next to it",
            legendgroup="own" if own else "others",
            showlegend=own or line is lines[0],
            mode="lines+markers",
            line={"color": colour if own else look.NEUTRAL, "width": 3 if own else 1},
            marker={"size": 6 if own else 3},
            opacity=1 if own else 0.5,
            hovertemplate=f"trial {line.trial.number}, {unit}: %{{y:.6~g}}<extra></extra>",
        )
    look.frame(chart, x=clock.CURVE[against], y=METRICS[metric], height=420)
    return chart.update_xaxes(rangemode="tozero")
