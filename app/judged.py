"""Learning curves of judged settings: the mean over their seeds, and the band between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from autotune.app import clock, look, words
from autotune.app.curves import METRICS, line_of
from autotune.app.points import Curves
from autotune.results.comparison import Contender, Row
from autotune.studies.records import Role, TrialRecord

BAND = 0.15  # opacity of the band between seeds


@dataclass(frozen=True, kw_only=True)
class Band:
    """One judged setting's measurements, where all of its seeds were measured.

    Args:
        optimizer: Its optimizer.
        word: "tuned", "default" or "authors'".
        seeds: How many seeds it was judged on.
        steps: At which all of them were measured.
        lows: The lowest value of a seed at each step.
        means: The mean over seeds.
        highs: The highest value.
        seconds: For which they had trained at each step, as a mean.
    """

    optimizer: str
    word: str
    seeds: int
    steps: tuple[int, ...]
    lows: tuple[float, ...]
    means: tuple[float, ...]
    highs: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def name(self) -> str:
        """How a legend calls it."""
        return words.setting(self.optimizer, self.word)

    def along(self, against: str) -> tuple[float, ...]:
        """Return where the measurements stand on an axis, a key of ``clock.CURVE``."""
        return self.seconds if against == clock.SECONDS else self.steps


def bands(
    rows: Sequence[Row],
    trials: Mapping[str, Sequence[TrialRecord]],
    curves: Mapping[str, Curves],
    metric: str,
    *,
    references: bool = True,
) -> list[Band]:
    """Return a band for each judged setting that was measured.

    Args:
        rows: Of a comparison.
        trials: By optimizer.
        curves: Of those trials, by optimizer.
        metric: A key of ``curves.METRICS``.
        references: Whether default and authors' settings are drawn beside tuned ones.
    """
    found = [
        _band(row.optimizer, contender, trials[row.optimizer], curves[row.optimizer], metric)
        for row in rows
        for contender in _contenders(row, references)
    ]
    return [band for band in found if band.steps]


def _contenders(row: Row, references: bool) -> Iterator[tuple[str, Contender]]:
    if not row.changed:
        yield f"{row.default.word} = tuned", row.default
        return
    if references:
        yield row.default.word, row.default
    yield "tuned", row.tuned


def _band(
    optimizer: str,
    contender: tuple[str, Contender],
    trials: Sequence[TrialRecord],
    curves: Curves,
    metric: str,
) -> Band:
    word, judged = contender
    runs = [
        {
            step: (value, time)
            for step, value, time in zip(one.steps, one.values, one.seconds, strict=True)
        }
        for t in trials
        if t.role is Role.JUDGE and t.setting.trains_like(judged.setting)
        for one in [line_of(t, curves, metric)]
    ]
    steps = sorted(set.intersection(*map(set, runs))) if runs else []
    values = [[run[step][0] for run in runs] for step in steps]
    times = [[run[step][1] for run in runs] for step in steps]
    return Band(
        optimizer=optimizer,
        word=word,
        seeds=len(runs),
        steps=tuple(steps),
        lows=tuple(map(min, values)),
        means=tuple(sum(each) / len(each) for each in values),
        highs=tuple(map(max, values)),
        seconds=tuple(sum(each) / len(each) for each in times),
    )


def figure(
    found: Sequence[Band], *, metric: str, log: bool = False, against: str = clock.STEP
) -> go.Figure:
    """Draw means as lines, tuned solid and references dashed, and seeds as bands around them."""
    chart = go.Figure()
    optimizers = [band.optimizer for band in found]
    colours, dashes = look.colours(optimizers), look.dashes(optimizers)
    for band in found:
        _shade(chart, band, colours[band.optimizer], against)
    for band in found:
        dash = dashes[band.optimizer] if band.word.endswith("tuned") else "dash"
        _mean(chart, band, {"color": colours[band.optimizer], "dash": dash}, against)
    look.frame(chart, x=clock.CURVE[against], y=f"{METRICS[metric]} (mean over seeds)", height=460)
    chart.update_xaxes(rangemode="tozero")
    return look.log_axis(chart, [low for band in found for low in band.lows]) if log else chart


def _shade(chart: go.Figure, band: Band, colour: str, against: str) -> None:
    places = band.along(against)
    chart.add_scatter(
        x=[*places, *reversed(places)],
        y=[*band.highs, *reversed(band.lows)],
        fill="toself",
        fillcolor=colour,
        opacity=BAND,
        line={"width": 0},
        mode="lines",
        name=band.name,
        legendgroup=band.name,
        showlegend=False,
        hoverinfo="skip",
    )


def _mean(chart: go.Figure, band: Band, line: Mapping[str, str], against: str) -> None:
    unit = clock.hover(against)
    chart.add_scatter(
        x=band.along(against),
        y=band.means,
        customdata=list(zip(band.lows, band.highs, strict=True)),
        mode="lines+markers",
        line={**line, "width": 2.5},
        marker={"size": 6},
        name=band.name,
        legendgroup=band.name,
        hovertemplate=f"{unit}: %{{y:.6~g}} "
        "(seeds %{customdata[0]:.6~g} to %{customdata[1]:.6~g})"
        f"<extra>{band.name}</extra>",
    )
