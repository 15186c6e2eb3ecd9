"""What tuning gained: judged losses with their intervals, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from autotune.app import look, words
from autotune.app.listing import restated_by
from autotune.results.comparison import Contender, Row
from autotune.results.intervals import CONFIDENCE, Estimate
from autotune.results.validation import Longer, Validation

TUNED = "tuned"


def losses(rows: Sequence[Row], *, references: bool = True) -> go.Figure:
    """Draw each judged setting's mean and interval, with a small point for every seed.

    Args:
        rows: The optimizers.
        references: Whether default and authors' settings are drawn beside tuned ones.
    """
    chart = go.Figure()
    colours = look.colours(row.optimizer for row in rows)
    for row in reversed(rows):
        default = words.setting(row.optimizer, row.default.word)
        if not row.changed:
            _judged(chart, default, row.default, colours[row.optimizer])
            continue
        if references:
            _judged(chart, default, row.default, look.NEUTRAL)
        _judged(chart, words.setting(row.optimizer, TUNED), row.tuned, colours[row.optimizer])
    count = sum(2 if row.changed and references else 1 for row in rows)
    look.frame(
        chart,
        x=f"loss (mean, {CONFIDENCE:.0%} interval)",
        y="",
        height=92 + 44 * count,
        legend=False,
    )
    return look.break_names(chart)


def stricter(rows: Sequence[Row]) -> str:
    """Say why a headline may not follow an interval; empty where one alone decides."""
    others = sum(row.tuned.loss is not None for row in rows) - 1
    if others < 2:
        return ""
    sure = 100 * (1 - (1 - CONFIDENCE) / others)
    return (
        f"Intervals are of {CONFIDENCE:.0%}, each by itself. The headline compares the best with "
        f"{others} others, one of which may look worse by luck, so it asks for {sure:.4g}% "
        "(Bonferroni)."
    )


def longer(found: Validation) -> go.Figure:
    """Draw the loss of each setting of a validation, the tuned ones in colour."""
    chart = go.Figure()
    colours = look.colours(one.optimizer for one in found.settings)
    several = len(found.outcomes) > 1  # sets of rules, which a long name tells apart
    for one in reversed(found.settings):
        by = restated_by(one) if several else ""
        name = f"{one.optimizer} {one.which}{f' by {by}' if by else ''}"
        _judged(chart, name, one, colours[one.optimizer] if one.which == TUNED else look.NEUTRAL)
    look.frame(
        chart,
        x=f"loss after {found.steps} steps",
        y="",
        height=92 + 44 * max(3, len(found.settings)),
        legend=False,
    )
    return look.break_names(chart)


def _judged(chart: go.Figure, name: str, contender: Contender | Longer, colour: str) -> None:
    if contender.loss is None:
        return
    chart.add_scatter(
        x=[contender.loss.mean],
        y=[name],
        name=name,
        mode="markers",
        marker={"color": colour, "size": 12, "symbol": "diamond"},
        error_x={**look.interval([contender.loss]), "color": colour},
        hovertemplate=f"{contender.loss}<extra></extra>",
    )
    chart.add_scatter(
        x=list(contender.losses.values()),
        y=[name] * len(contender.losses),
        name=f"{name}, seeds",
        mode="markers",
        marker={"symbol": "circle-open", "color": colour, "size": 7, "line": {"width": 1.5}},
        customdata=list(contender.losses),
        hovertemplate="seed %{customdata}: %{x:.6~g}<extra></extra>",
    )


def differences(
    estimates: Mapping[str, Estimate], colours: Mapping[str, str], *, against: str
) -> go.Figure:
    """Draw paired differences of loss; left of zero the tuned setting is better."""
    chart = go.Figure()
    for name, estimate in reversed(list(estimates.items())):
        chart.add_scatter(
            x=[estimate.mean],
            y=[name],
            name=name,
            mode="markers",
            marker={"color": colours[name], "size": 12, "symbol": "diamond"},
            error_x={**look.interval([estimate]), "color": colours[name]},
            hovertemplate=f"{estimate}<extra></extra>",
        )
    chart.add_vline(x=0, line={"color": look.NEUTRAL, "dash": "dash", "width": 1.5})
    look.frame(
        chart,
        x=f"loss of tuned minus {against}",
        y="",
        height=92 + 44 * max(3, len(estimates)),
        legend=False,
    )
    return chart
