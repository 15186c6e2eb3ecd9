"""Learning curves: smoothed lines over faded raw ones, thinned so that a browser keeps up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import pandas as pd
import plotly.graph_objects as go

from autotune.app import clock, look
from autotune.app.fidelity import Curves
from autotune.studies.records import Role, TrialRecord, TrialState

LINES = 150  # with a raw line for each state this stays below 200 traces
POINTS = 300  # of one line
METRICS = {
    "loss": "validation loss",
    "train_loss": "training loss",
    "accuracy": "validation accuracy",
}


FEW = 4  # validation points below which a curve shows less than the training loss does


def metrics(curves: Curves) -> list[str]:
    """Return the metrics to choose from, the one that shows most first."""
    measured = max((sum(p.loss is not None for p in c) for c in curves.values()), default=FEW)
    trained = max((sum(p.train_loss is not None for p in c) for c in curves.values()), default=0)
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
    if len(steps) <= limit:
        return list(steps), list(values)
    count = max(1, (limit - 2) // 2)
    edges = [1 + i * (len(steps) - 2) // count for i in range(count + 1)]
    kept = {0, len(steps) - 1}
    for start, stop in pairwise(edges):
        kept.add(min(range(start, stop), key=values.__getitem__))
        kept.add(max(range(start, stop), key=values.__getitem__))
    order = sorted(kept)
    return [steps[i] for i in order], [values[i] for i in order]


def pick(
    trials: Sequence[TrialRecord], curves: Curves, metric: str = "loss", limit: int = LINES
) -> list[Line]:
    """Return the curves of search trials, the best last so that it is drawn on top."""
    searched = [trial for trial in trials if trial.role is Role.SEARCH]
    ranked = (line_of(trial, curves, metric) for trial in sorted(searched, key=_merit))
    return list(islice((line for line in ranked if line.steps), limit))[::-1]


def among(
    trials: Sequence[TrialRecord], curves: Curves, chosen: TrialRecord, metric: str
) -> list[Line]:
    """Return the curves of a trial's stage by rank, the best first."""
    alike = sorted((trial for trial in trials if trial.role is chosen.role), key=_merit)
    lines = (line_of(trial, curves, metric) for trial in alike)
    return [line for line in lines if line.steps]


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
    named: set[TrialState] = set()
    for line in lines:
        _line(chart, line, _colour(line.trial, colour), smooth, against)
        chart.data[-1].showlegend = line.trial.state not in named
        named.add(line.trial.state)
    best = lines[-1] if lines else None
    if best and best.trial.state is TrialState.COMPLETE:
        chart.data[-1].update(line_width=3.5, opacity=1, showlegend=True)
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


def _colour(trial: TrialRecord, colour: str) -> str:
    return colour if trial.state is TrialState.COMPLETE else look.STATES[trial.state]


def _line(chart: go.Figure, line: Line, colour: str, smooth: float, against: str) -> None:
    steps, values = decimate(line.along(against), ema(line.values, smooth))
    unit = clock.hover(against)
    done = line.trial.state is TrialState.COMPLETE
    chart.add_scatter(
        x=steps,
        y=values,
        name=line.trial.state.value,
        legendgroup=line.trial.state.value,
        mode="lines" if len(steps) > 1 else "markers",
        line={"color": colour, "width": 1.5, "dash": "solid" if done else "dot"},
        marker={"color": colour, "symbol": look.SYMBOLS[line.trial.state]},
        opacity=0.6,
        hovertemplate=f"trial {line.trial.number}, {unit}: %{{y:.6~g}}<extra></extra>",
    )


def _shadows(chart: go.Figure, lines: Sequence[Line], colour: str, against: str) -> None:
    """Add the raw curves, one trace for each state with gaps between trials."""
    for state in dict.fromkeys(line.trial.state for line in lines):
        x: list[float | None] = []
        y: list[float | None] = []
        for line in lines:
            if line.trial.state is state:
                steps, values = decimate(line.along(against), line.values)
                x += [*steps, None]
                y += [*values, None]
        shade = colour if state is TrialState.COMPLETE else look.STATES[state]
        chart.add_scatter(
            x=x,
            y=y,
            name=f"{state.value}, raw",
            mode="lines",
            line={"color": shade, "width": 1},
            opacity=0.35,
            showlegend=False,
            hoverinfo="skip",
        )
