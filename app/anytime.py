"""Best loss so far against what it had cost, or against the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from autotune.app import clock, look
from autotune.studies.records import Role, TrialRecord, TrialState

UNITS = {clock.COST: "full runs", clock.CLOCK: "minutes"}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How the lowest full-length loss fell while a study spent its budget.

    Args:
        costs: Full runs spent, or minutes passed, when a loss was the lowest.
        losses: Those losses.
        against: ``clock.COST`` or ``clock.CLOCK``.
    """

    costs: tuple[float, ...]
    losses: tuple[float, ...]
    against: str = clock.COST


def progress(trials: Sequence[TrialRecord], against: str = clock.COST) -> Progress:
    """Follow search trials in the order they ended; the last point is all that was spent."""
    places = clock.places(trials, against)
    best, end = float("inf"), 0.0
    costs: list[float] = []
    losses: list[float] = []
    for trial in clock.searched(trials):
        if trial.number not in places:
            continue
        end = places[trial.number]
        if trial.state is TrialState.COMPLETE and trial.loss is not None and trial.loss < best:
            best = trial.loss
            costs.append(end)
            losses.append(best)
    if losses and costs[-1] < end:
        costs.append(end)
        losses.append(best)
    return Progress(costs=tuple(costs), losses=tuple(losses), against=against)


def begun(trials: Sequence[TrialRecord]) -> bool:
    """Return whether a search trial was completed, so that there is progress to draw."""
    return any(
        trial.role is Role.SEARCH and trial.state is TrialState.COMPLETE and trial.loss is not None
        for trial in trials
    )


def figure(lines: Mapping[str, Progress], *, log: bool = False) -> go.Figure:
    """Draw a falling staircase for each optimizer."""
    chart = go.Figure()
    colours, dashes = look.colours(lines), look.dashes(lines)
    against = next((line.against for line in lines.values()), clock.COST)
    for name, line in lines.items():
        chart.add_scatter(
            x=line.costs,
            y=line.losses,
            name=name,
            mode="lines+markers",
            line={"shape": "hv", "width": 2.5, "color": colours[name], "dash": dashes[name]},
            hovertemplate=f"%{{y:.6~g}} after %{{x:.2f}} {UNITS[against]}"
            "<extra>%{fullData.name}</extra>",
        )
    look.frame(chart, x=clock.SEARCH[against], y="best validation loss so far")
    chart.update_xaxes(rangemode="tozero")
    if log:
        look.log_axis(chart, [loss for line in lines.values() for loss in line.losses])
    return chart
