"""What a study's measurements are worth: short runs beside long ones, seeds beside settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from autotune.app import look, thin
from autotune.app.fidelity import losses_at
from autotune.app.points import Curves, Points
from autotune.pruners.ladder import rungs_of
from autotune.results import reliability as measured
from autotune.results.reliability import FEWEST, Agreement
from autotune.studies.records import Role, SearchRecord, TrialRecord

POINTS = 1000  # of a chart of two rungs
NOISE, SPREAD = "one setting, from seed to seed", "the best settings, on one seed"


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """What can be told of a study.

    Args:
        found: Correlations, noise and a warning.
        trials: Its settings.
        losses: Theirs at rungs, by trial and step.
    """

    found: measured.Reliability
    trials: Sequence[TrialRecord]
    losses: dict[int, dict[int, float]]

    @property
    def agreements(self) -> list[Agreement]:
        """Neighbouring rungs with enough settings to compare."""
        return [one for one in self.found.agreements if one.overall is not None]


def reliability(
    search: SearchRecord, trials: Sequence[TrialRecord], curves: Curves
) -> Reliability | None:
    """Return what a study's measurements are worth; None for a task without steps."""
    if not search.task.get("steps"):
        return None
    points, steps = Points.of(curves), rungs_of(search.task).steps
    losses: dict[int, dict[int, float]] = {}
    for step in steps:
        for trial, loss in losses_at(trials, points, step).items():
            losses.setdefault(trial, {})[step] = loss
    found = measured.reliability_of(trials, losses, steps)
    return Reliability(found=found, trials=trials, losses=losses)


def title(agreement: Agreement) -> str:
    """Say how far two rungs agree."""
    top = "too few to say" if agreement.top is None else f"{agreement.top:+.2f}"
    return (
        f"Rank correlation {agreement.overall:+.2f} over {agreement.trials} settings; "
        f"in the best tenth: {top}"
    )


def nothing() -> str:
    """Say what it takes to compare rungs."""
    return f"Rungs are compared once {FEWEST} settings were measured at two of them."


def rungs(shown: Reliability, agreement: Agreement, colour: str) -> go.Figure:
    """Draw every setting by its loss after the shorter and after the longer run."""
    short, long = agreement.short, agreement.long
    both = [
        (trial, curve[short], curve[long])
        for trial in shown.trials
        if trial.role is Role.SEARCH
        for curve in [shown.losses.get(trial.id, {})]
        if {short, long} <= curve.keys()
    ]
    kept = thin.cloud([x for _, x, _ in both], [y for _, _, y in both], POINTS)
    both = [both[i] for i in kept]
    chart = go.Figure()
    chart.add_trace(
        go.Scatter(
            x=[x for _, x, _ in both],
            y=[y for _, _, y in both],
            mode="markers",
            marker={"color": colour, "size": 8, "opacity": 0.75},
            customdata=[trial.number for trial, _, _ in both],
            hovertemplate="trial %{customdata}: %{x:.6~g}, then %{y:.6~g}<extra></extra>",
        )
    )
    x, y = f"loss after {short} steps", f"after {long} steps"
    look.frame(chart, x=x, y=y, height=300, legend=False)
    look.focus(chart, [y for _, _, y in both])
    return _narrowed(chart, [(x, y) for _, x, y in both])


def _narrowed(chart: go.Figure, points: Sequence[tuple[float, float]]) -> go.Figure:
    """Let the axis below hold what is in sight, where some points are not."""
    if chart.layout.yaxis.range is None:
        return chart
    seen = [x for x, y in points if y <= chart.layout.yaxis.range[1]]
    room = 0.06 * (max(seen) - min(seen))
    return chart.update_xaxes(range=[min(seen) - room, max(seen) + room])


def seeds(found: measured.Reliability, colour: str) -> go.Figure:
    """Draw the noise of seeds beside the spread of the best settings."""
    bars = {SPREAD: found.spread, NOISE: found.noise}
    known = {name: value for name, value in bars.items() if value is not None}
    chart = go.Figure()
    chart.add_bar(
        x=list(known.values()),
        y=list(known),
        orientation="h",
        marker={"color": [colour if name == SPREAD else look.NEUTRAL for name in known]},
        hovertemplate="%{x:.6~g}<extra></extra>",
    )
    return look.frame(chart, x="standard deviation of the loss", y="", height=190, legend=False)
