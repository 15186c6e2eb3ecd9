"""Loss against the time of a step: what a lower loss costs, over all optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from autotune.app import look
from autotune.studies.records import Role, TrialRecord, TrialState

POINTS = 500  # trials of an optimizer that are drawn, the best ones
MILLISECONDS = 1000.0


def measured(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the completed search trials whose time is known, the best first."""
    done = [
        trial
        for trial in trials
        if trial.role is Role.SEARCH
        and trial.state is TrialState.COMPLETE
        and trial.loss is not None
        and trial.seconds > 0
    ]
    return sorted(done, key=lambda trial: trial.loss or 0.0)


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other beats in both coordinates, by the first one."""
    kept: list[tuple[float, float]] = []
    for point in sorted(points):
        if not kept or point[1] < kept[-1][1]:
            kept.append(point)
    return kept


def figure(trials: Mapping[str, Sequence[TrialRecord]]) -> go.Figure:
    """Draw completed search trials by time a step and loss, and the line of the best of both.

    Args:
        trials: By optimizer.
    """
    chart = go.Figure()
    colours, every = look.colours(trials), []
    for name, own in trials.items():
        done = measured(own)[:POINTS]
        points = [(MILLISECONDS * t.seconds / t.step, float(t.loss or 0.0)) for t in done]
        every += points
        chart.add_trace(
            go.Scatter(
                x=[x for x, _ in points],
                y=[y for _, y in points],
                name=name,
                mode="markers",
                marker={"color": colours[name], "size": 8, "opacity": 0.75},
                customdata=[trial.number for trial in done],
                hovertemplate="trial %{customdata}: %{y:.6~g} at %{x:.3~g} ms a step"
                "<extra>%{fullData.name}</extra>",
            )
        )
    best = front(every)
    chart.add_scatter(
        x=[x for x, _ in best],
        y=[y for _, y in best],
        name="not beaten in both",
        mode="lines",
        line={"color": look.NEUTRAL, "dash": "dot", "shape": "hv", "width": 2},
        hoverinfo="skip",
    )
    return look.frame(chart, x="time of a step (ms, evaluations included)", y="validation loss")
