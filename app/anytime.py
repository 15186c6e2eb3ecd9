"""Best loss so far against what it had cost, in full runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from autotune.app import look
from autotune.studies.records import Role, TrialRecord, TrialState


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How the lowest full-length loss fell while a study spent its budget."""

    costs: tuple[float, ...]
    losses: tuple[float, ...]


def progress(trials: Sequence[TrialRecord]) -> Progress:
    """Add up search trials in the order they ended; the last point is all that was spent."""
    spent, best = 0.0, float("inf")
    costs: list[float] = []
    losses: list[float] = []
    for trial in sorted(_searched(trials), key=_ended):
        spent += trial.step / trial.target
        if trial.state is TrialState.COMPLETE and trial.loss is not None and trial.loss < best:
            best = trial.loss
            costs.append(spent)
            losses.append(best)
    if losses and costs[-1] < spent:
        costs.append(spent)
        losses.append(best)
    return Progress(costs=tuple(costs), losses=tuple(losses))


def _searched(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [trial for trial in trials if trial.role is Role.SEARCH]


def _ended(trial: TrialRecord) -> tuple[float, int]:
    return (trial.updated.timestamp() if trial.updated else 0.0, trial.number)


def figure(lines: Mapping[str, Progress], *, log: bool = False) -> go.Figure:
    """Draw a falling staircase for each optimizer."""
    chart = go.Figure()
    colours = look.colours(lines)
    for name, line in lines.items():
        chart.add_scatter(
            x=line.costs,
            y=line.losses,
            name=name,
            mode="lines+markers",
            line={"shape": "hv", "width": 2.5, "color": colours[name]},
            hovertemplate="%{y:.6~g} after %{x:.2f} full runs<extra>%{fullData.name}</extra>",
        )
    look.frame(chart, x="cost of the search (full runs)", y="best validation loss so far")
    chart.update_xaxes(rangemode="tozero")
    if log:
        look.log_axis(chart, [loss for line in lines.values() for loss in line.losses])
    return chart
