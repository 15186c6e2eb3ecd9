"""How a search went: the loss of every trial in turn, and when trials ended."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from autotune.app import clock, look, thin, words
from autotune.studies.records import TrialRecord, TrialState

LOST = "no loss"
FEW = 6  # trials that an axis counts one by one
CROWD = 100  # points beyond which markers hide the line
STEPS = 300  # of a line of counts


def figure(
    trials: Sequence[TrialRecord],
    colour: str,
    *,
    log: bool = False,
    against: str = clock.TRIAL,
    shown: Collection[int] | None = None,
    most: int = thin.MOST,
) -> go.Figure:
    """Draw search trials in turn; those without a loss stand in a strip below.

    Args:
        trials: Of a study.
        colour: Of its best line.
        log: Whether the loss axis is logarithmic.
        against: What the other axis is, a key of ``clock.SEARCH``.
        shown: Numbers of the trials that are drawn; None: all. The best line is that of all.
        most: Points of a chart; of more trials the extremes and an even choice are drawn.
    """
    places = clock.places(trials, against)
    searched = [trial for trial in trials if trial.number in places]
    drawn = [trial for trial in searched if shown is None or trial.number in shown]
    # An empty strip would take the upper chart's axis with it.
    rows = 2 if any(trial.loss is None for trial in drawn) else 1
    heights = [0.88, 0.12] if rows == 2 else None
    chart = make_subplots(rows=rows, shared_xaxes=True, row_heights=heights, vertical_spacing=0.03)
    for state in TrialState:
        own = [trial for trial in drawn if trial.state is state]
        share = most * len(own) // max(1, len(drawn)) if len(drawn) > most else len(own)
        _states(chart, state, own, places, max(2, share))
    losses = _best(chart, searched, places, colour)
    # Without a loss there is only the strip.
    height = 440 if losses or not drawn else 180
    look.frame(chart, x=clock.SEARCH[against], y="validation loss", height=height)
    if rows == 2:
        chart.update_xaxes(title_text="", row=1, col=1)
        chart.update_yaxes(title_text="", showgrid=False, row=2, col=1)
    if log:
        return look.log_axis(chart, losses, row=1, col=1)
    done = [t.loss for t in drawn if t.loss is not None and t.state is TrialState.COMPLETE]
    return look.focus(chart, [t.loss for t in drawn if t.loss is not None], done, row=1, col=1)


def _states(
    chart: go.Figure,
    state: TrialState,
    trials: Sequence[TrialRecord],
    places: Mapping[int, float],
    most: int,
) -> None:
    """Add one trace for those with a loss and one for those without."""
    size = 8 if len(trials) <= look.MANY else 4
    marker = {"symbol": look.SYMBOLS[state], "color": look.STATES[state], "size": size}
    for row, lost in ((1, False), (2, True)):
        chosen = _drawn([t for t in trials if (t.loss is None) is lost], places, most)
        if not chosen:
            continue
        trace = go.Scatter(
            x=[places[trial.number] for trial in chosen],
            y=[LOST if lost else trial.loss for trial in chosen],
            name=state.value,
            mode="markers",
            marker=marker,
            legendgroup=state.value,
            showlegend=row == 1 or all(trial.loss is None for trial in trials),
            customdata=[(trial.number, _note(trial)) for trial in chosen],
            hovertemplate="trial %{customdata[0]}: "
            + ("" if lost else "%{y:.6~g}, ")
            + "%{customdata[1]}<extra>%{fullData.name}</extra>",
        )
        chart.add_trace(trace, row=row, col=1)


def _drawn(
    trials: Sequence[TrialRecord], places: Mapping[int, float], most: int
) -> list[TrialRecord]:
    """Return the trials to draw, all of which have a loss or none of which has."""
    losses = [trial.loss or 0.0 for trial in trials]
    kept = thin.cloud([places[trial.number] for trial in trials], losses, most)
    return [trials[i] for i in kept]


def _note(trial: TrialRecord) -> str:
    return f"step {trial.step} of {trial.target}, {words.markup(trial.origin)}"


def _best(
    chart: go.Figure, trials: Sequence[TrialRecord], places: Mapping[int, float], colour: str
) -> list[float]:
    """Add the staircase of the lowest completed loss, and return every loss drawn."""
    done = sorted(
        (places[trial.number], trial.loss)
        for trial in trials
        if trial.state is TrialState.COMPLETE and trial.loss is not None
    )
    if done:
        lowest = list(accumulate((loss for _, loss in done), min))
        falls = [0, *(i for i in range(1, len(done)) if lowest[i] < lowest[i - 1])]
        kept = [*falls, *([] if falls[-1] == len(done) - 1 else [len(done) - 1])]
        best = [(done[i][0], lowest[i]) for i in kept] + [(max(places.values()), lowest[-1])]
        chart.add_scatter(
            x=[place for place, _ in best],
            y=[loss for _, loss in best],
            name="best so far",
            mode="lines",
            line={"shape": "hv", "color": colour, "width": 2.5},
            hovertemplate="best %{y:.6~g}<extra></extra>",
            row=1,
            col=1,
        )
    return [trial.loss for trial in trials if trial.loss is not None]


def activity(trials: Sequence[TrialRecord]) -> go.Figure:
    """Draw how many trials had ended, by state, over the minutes since the first began."""
    dated = [trial for trial in trials if trial.created and trial.updated]
    start = min((trial.created for trial in dated if trial.created), default=None)
    chart = go.Figure()
    for state in TrialState:
        moments = sorted(t.updated for t in dated if t.updated and t.state is state)
        kept = thin.even(len(moments), STEPS)
        if start is None or not moments:
            continue
        chart.add_scatter(
            x=[(moments[i] - start).total_seconds() / 60 for i in kept],
            y=[i + 1 for i in kept],
            name=state.value,
            mode="lines+markers" if len(moments) <= CROWD else "lines",
            line={"shape": "hv", "width": 2, "color": look.STATES[state]},
            marker={"symbol": look.SYMBOLS[state], "size": 6},
            hovertemplate="%{y} %{fullData.name} after %{x:.1f} min<extra></extra>",
        )
    look.frame(chart, x="time since the first trial (minutes)", y="trials, by their last state")
    chart.update_xaxes(rangemode="tozero")
    return chart.update_yaxes(rangemode="tozero", **({"dtick": 1} if len(dated) < FEW else {}))
