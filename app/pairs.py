"""Loss over two parameters at once: where the good settings lie, and what was never tried."""

from __future__ import annotations

import plotly.graph_objects as go

from autotune.app import look, words
from autotune.app.axes import Axis, scale, value
from autotune.app.fidelity import Sample, thinned

POINTS = 1000
SCALE = [look.BLUE, look.PURPLE, look.PINK, look.VERMILION]  # seen on white and on black
RANK = 0.95  # losses above this share of the sample are drawn alike


def figure(sample: Sample, x: Axis, y: Axis) -> go.Figure:
    """Draw settings as points in the colour of their loss; crosses diverged.

    Args:
        sample: Settings measured after equally many steps.
        x: A parameter.
        y: Another one.
    """
    drawn = [
        i
        for i in thinned(sample, POINTS)
        if value(sample.trials[i], x.name) is not None
        and value(sample.trials[i], y.name) is not None
    ]
    losses = [sample.losses[i] for i in drawn]
    chart = go.Figure()
    chart.add_trace(
        go.Scatter(
            x=[sample.trials[i].setting.params[x.name] for i in drawn],
            y=[sample.trials[i].setting.params[y.name] for i in drawn],
            mode="markers",
            name="measured",
            marker={
                "color": losses,
                "colorscale": SCALE,
                "cmin": min(losses, default=0.0),
                "cmax": sorted(losses)[int(RANK * (len(losses) - 1))] if losses else 1.0,
                "colorbar": {"title": {"text": "loss"}, "thickness": 12},
                "size": 10,
                "line": {"width": 0.5, "color": look.NEUTRAL},
            },
            customdata=[(sample.trials[i].number, sample.losses[i]) for i in drawn],
            hovertemplate="trial %{customdata[0]}: %{customdata[1]:.6~g} at %{x}, %{y}"
            "<extra></extra>",
        )
    )
    _diverged(chart, sample, x, y)
    look.frame(chart, x=words.label(x.name), y=words.label(y.name), height=460, legend=False)
    chart.update_xaxes(**scale(x))
    return chart.update_yaxes(**scale(y))


def _diverged(chart: go.Figure, sample: Sample, x: Axis, y: Axis) -> None:
    lost = [
        trial
        for trial in sample.diverged
        if value(trial, x.name) is not None and value(trial, y.name) is not None
    ]
    chart.add_scatter(
        x=[trial.setting.params[x.name] for trial in lost],
        y=[trial.setting.params[y.name] for trial in lost],
        name="diverged",
        mode="markers",
        marker={"symbol": "x", "color": look.VERMILION, "size": 8},
        customdata=[(trial.number,) for trial in lost],
        hovertemplate="trial %{customdata[0]} diverged at %{x}, %{y}<extra></extra>",
    )
