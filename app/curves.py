"""Learning curves: smoothed lines over faded raw ones, thinned so that a browser keeps up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import pandas as pd
import plotly.graph_objects as go

from autotune.app import clock, look, thin
from autotune.app.points import Curves, Points
from autotune.studies.records import Role, TrialRecord, TrialState

LINES = 150
POINTS = 300  # of one line
NEXT = 5  # neighbours of a trial's curve on each side
METRICS = {
    "loss": "validation loss",
    "train_loss": "training loss",
    "accuracy": "validation accuracy",
}


FEW = 4  # validation points below which a curve shows less than the training loss does


def metrics(*known: Curves) -> list[str]:
    """Return the metrics to choose from, the one that shows most first."""
    tables = [Points.of(curves) for curves in known if curves]
    measured = max((points.most("loss") for points in tables), default=FEW)
    trained = max((points.most("train_loss") for points in tables), default=0)
    # A training of the user's own tells no training loss.
    few = measured < FEW and trained > measured
    return sorted(METRICS, key=lambda m: m != "train_loss") if few else list(METRICS)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One trial's measurements of one metric.

    Args:
        trial: The trial.
        steps: After which it was measured.
        values: What was measured.
        seconds: For which it had trained by then.
    """

    trial: TrialRecord
    steps: tuple[int, ...]
    values: tuple[float, ...]
    seconds: tuple[float, ...]

    def along(self, against: str) -> tuple[float, ...]:
        """Return where the measurements stand on an axis, a key of ``clock.CURVE``."""
        return self.seconds if against == clock.SECONDS else self.steps


def ema(values: Sequence[float], weight: float) -> list[float]:
    """Return the exponential moving average, corrected for its start at zero."""
    average, smoothed = 0.0, []
    for count, value in enumerate(values, start=1):
        average = weight * average + (1 - weight) * value
        smoothed.append(average / (1 - weight**count))
    return smoothed


def decimate(
    steps: Sequence[float], values: Sequence[float], limit: int = POINTS
) -> tuple[list[float], list[float]]:
    """Keep each bucket's lowest and highest point, and both ends of the line."""
    kept = thin.extremes(values, limit)
    return [steps[i] for i in kept], [values[i] for i in kept]


def pick(
    trials: Sequence[TrialRecord], curves: Curves, metric: str = "loss", limit: int = LINES
) -> list[Line]:
    """Return the curves of search trials, the best last so that it is drawn on top."""
    measured = Points.of(curves).having(metric)
    searched = [t for t in trials if t.role is Role.SEARCH and t.id in measured]
    ranked = (line_of(trial, curves, metric) for trial in sorted(searched, key=_merit))
    return list(islice(ranked, limit))[::-1]


def among(
    trials: Sequence[TrialRecord], curves: Curves, chosen: TrialRecord, metric: str
) -> list[Line]:
    """Return a trial's curve with those of its stage that ranked next to it, the best first."""
    measured = Points.of(curves).having(metric)
    alike = [t for t in trials if t.role is chosen.role and t.id in measured]
    ranked = sorted(alike, key=_merit)
    at = next((i for i, trial in enumerate(ranked) if trial.id == chosen.id), len(ranked))
    near = ranked[max(0, at - NEXT) : at + 1 + NEXT] if at < len(ranked) else []
    return [line_of(trial, curves, metric) for trial in near]


def line_of(trial: TrialRecord, curves: Curves, metric: str) -> Line:
    """Return a trial's curve of one metric, empty where it was not measured."""
    points = curves.get(trial.id, ())
    passed = clock.elapsed(trial, points)
    known = [
        (point.step, value, seconds)
        for point, seconds in zip(points, passed, strict=True)
        if (value := getattr(point, metric)) is not None
    ]
    steps, values, times = zip(*known, strict=True) if known else ((), (), ())
    return Line(trial=trial, steps=steps, values=values, seconds=times)


def _merit(trial: TrialRecord) -> tuple[bool, float]:
    """Rank completed trials first, then by loss."""
    loss = float("inf") if trial.loss is None else trial.loss
    return trial.state is not TrialState.COMPLETE, loss


def figure(
    lines: Sequence[Line],
    colour: str,
    *,
    metric: str,
    smooth: float = 0.0,
    log: bool = False,
    against: str = clock.STEP,
) -> go.Figure:
    """Draw completed trials in ``colour``, the best one bold, others in their state's colour.

    Args:
        lines: The curves, the best last.
        colour: Of the optimizer.
        metric: A key of ``METRICS``.
        smooth: Weight of the moving average, from 0 to below 1.
        log: Whether the axis of the metric is logarithmic.
        against: What the other axis is, a key of ``clock.CURVE``.
    """
    chart = go.Figure()
    if smooth > 0:
        _shadows(chart, lines, colour, against)
    best = lines[-1] if lines and lines[-1].trial.state is TrialState.COMPLETE else None
    others = lines[:-1] if best else lines
    # In the order of their first line; those that are complete lie on top.
    states = dict.fromkeys(line.trial.state for line in others)
    for state in sorted(states, key=TrialState.COMPLETE.__eq__):
        own = [line for line in others if line.trial.state is state]
        _lines(chart, own, _colour(state, colour), smooth, against)
    if best:
        _lines(chart, [best], colour, smooth, against)
        chart.data[-1].update(line_width=3.5, opacity=1)
        chart.data[-1].update(name=f"best (trial {best.trial.number})", legendgroup="best")
    look.frame(chart, x=clock.CURVE[against], y=METRICS[metric], height=460)
    chart.update_xaxes(rangemode="tozero")
    if log:
        return look.log_axis(chart, [v for line in lines for v in line.values])
    done = [max(one.values) for one in lines if one.trial.state is TrialState.COMPLETE]
    seen = [v for trace in chart.data for v in trace.y if v is not None]
    return chart if metric == "accuracy" else look.focus(chart, seen, done)


def frame(lines: Sequence[Line], metric: str) -> pd.DataFrame:
    """Return every measurement of some curves, a row for each."""
    rows = [
        (line.trial.number, line.trial.state.value, *point)
        for line in lines
        for point in zip(line.steps, line.seconds, line.values, strict=True)
    ]
    columns = ["trial", "state", "step", "training time (s)", METRICS[metric]]
    return pd.DataFrame(rows, columns=columns)


def _colour(state: TrialState, colour: str) -> str:
    return colour if state is TrialState.COMPLETE else look.STATES[state]


def _lines(
    chart: go.Figure, lines: Sequence[Line], colour: str, smooth: float, against: str
) -> None:
    """Add the curves of one state as a trace, and those of a single point as another."""
    state, unit = lines[0].trial.state, clock.hover(against)
    for mode, own in (
        ("lines", [line for line in lines if len(line.steps) > 1]),
        ("markers", [line for line in lines if len(line.steps) == 1]),
    ):
        if not own:
            continue
        x, y, numbers = _joined(own, smooth, against)
        chart.add_scatter(
            x=x[:-1],
            y=y[:-1],
            customdata=numbers[:-1],
            name=state.value,
            legendgroup=state.value,
            showlegend=mode == "lines" or len(own) == len(lines),
            mode=mode,
            line={
                "color": colour,
                "width": 1.5,
                "dash": "solid" if state is TrialState.COMPLETE else "dot",
            },
            marker={"color": colour, "symbol": look.SYMBOLS[state]},
            opacity=0.6,
            hovertemplate=f"trial %{{customdata}}, {unit}: %{{y:.6~g}}<extra></extra>",
        )


def _joined(
    lines: Sequence[Line], smooth: float, against: str
) -> tuple[list[float | None], list[float | None], list[int]]:
    """Return places, values and trials of the points of several curves, a gap after each."""
    x: list[float | None] = []
    y: list[float | None] = []
    numbers: list[int] = []
    for line in lines:
        steps, values = decimate(line.along(against), ema(line.values, smooth))
        x += [*steps, None]
        y += [*values, None]
        numbers += [line.trial.number] * (len(steps) + 1)
    return x, y, numbers


def _shadows(chart: go.Figure, lines: Sequence[Line], colour: str, against: str) -> None:
    """Add the raw curves, one trace for each state with gaps between trials."""
    for state in dict.fromkeys(line.trial.state for line in lines):
        own = [line for line in lines if line.trial.state is state]
        x, y, _ = _joined(own, 0.0, against)
        chart.add_scatter(
            x=x,
            y=y,
            name=f"{state.value}, raw",
            mode="lines",
            line={"color": _colour(state, colour), "width": 1},
            opacity=0.35,
            showlegend=False,
            hoverinfo="skip",
        )
