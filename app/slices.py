"""Loss against one parameter, settings of equal length side by side."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from autotune.app import look, words
from autotune.app.axes import Axis, scale, value
from autotune.app.fidelity import Sample, thinned
from autotune.studies.records import TrialRecord

POINTS = 500  # a page holds one chart a parameter


def figure(sample: Sample, axis: Axis, colour: str, *, log: bool = False) -> go.Figure:
    """Draw the settings that have the parameter; crosses at the top edge diverged."""
    drawn = [i for i in thinned(sample, POINTS) if value(sample.trials[i], axis.name) is not None]
    trials = [sample.trials[i] for i in drawn]
    chart = go.Figure()
    chart.add_scatter(
        x=[trial.setting.params[axis.name] for trial in trials],
        y=[sample.losses[i] for i in drawn],
        name="measured",
        mode="markers",
        marker={"color": colour, "size": 7, "opacity": 0.75},
        customdata=[(trial.number,) for trial in trials],
        hovertemplate="trial %{customdata[0]}: %{y:.6~g} at %{x}<extra></extra>",
    )
    lost = [trial for trial in sample.diverged if value(trial, axis.name) is not None]
    if lost:
        _diverged(chart, axis, max(sample.losses, default=1.0), lost)
    look.frame(chart, x=words.label(axis.name), y="validation loss", height=270, legend=False)
    chart.update_xaxes(**scale(axis))
    return look.log_axis(chart, sample.losses) if log else look.focus(chart, sample.losses)


def _diverged(chart: go.Figure, axis: Axis, top: float, lost: Sequence[TrialRecord]) -> None:
    chart.add_scatter(
        x=[trial.setting.params[axis.name] for trial in lost],
        y=[top] * len(lost),
        name="diverged",
        mode="markers",
        marker={"symbol": "x", "color": look.VERMILION, "size": 8},
        customdata=[(trial.number,) for trial in lost],
        hovertemplate="trial %{customdata[0]} diverged at %{x}<extra></extra>",
    )
