"""Which parameters matter: what explains the loss, and beside it what the best settings share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from autotune.app import look, words
from autotune.app.axes import axes
from autotune.app.best import of_best, quantile
from autotune.app.explained import Explained, Importance, explain
from autotune.app.fidelity import Sample

EXPLAINS, BEST = "explains the loss (permutation)", "shared by the best (PED-ANOVA)"
RUNGS = 6  # lengths of runs that are looked at


@dataclass(frozen=True, kw_only=True)
class Matters:
    """Which parameters matter, at the longest runs that tell.

    Args:
        explained: What explains the loss, or why that cannot be said.
        best: What the best settings have in common; empty where nothing is explained.
        longer: Whether there are longer runs, which do not tell.
    """

    explained: Explained
    best: Mapping[str, Importance] = field(default_factory=dict)
    longer: bool = False


def matters(
    samples: Iterable[Sample], space: Mapping[str, Any], *, noise: float | None = None
) -> Matters:
    """Return which parameters matter, at the first of the samples that shows it.

    Args:
        samples: Of one study, the longest runs first.
        space: Its space, as plain data.
        noise: Standard deviation of a full-length loss over seeds, if known.
    """
    found: list[Explained] = []
    for sample in samples:
        # Shorter runs of the same settings tell less.
        if found and len(sample.trials) <= len(found[-1].sample.trials):
            continue
        varied = axes(space, [*sample.trials, *sample.diverged])
        full = sample.step == sample.target
        found.append(explain(sample, varied, noise=noise if full else None))
        if found[-1].shares:
            best = of_best(sample, varied)
            return Matters(explained=found[-1], best=best, longer=len(found) > 1)
        if len(found) == RUNGS:
            break
    return Matters(explained=found[0])


def caption(found: Matters) -> str:
    """Say what was compared, how well it is explained and what is drawn."""
    known = found.explained
    count, diverged = len(known.sample.trials), len(known.sample.diverged)
    parts = {
        f"{known.sample}.": True,
        f"{diverged} diverged and count as the worst.": diverged,
        "Longer runs do not tell.": found.longer,
        f"A fixed random draw of {known.used} is used.": known.used < known.total,
        f"{known.used} settings are too few for {len(known.shares)} parameters: "
        "the shares are rough.": known.rough,
        "Explained: how far the loss moves if a parameter is taken from another setting; losses "
        f"left out were predicted with a correlation of {known.agreement:.2f}.": True,
        f"Shared: what sets the best {quantile(count):.0%} apart.": True,
        "Whiskers are the range of nine in ten bootstrap draws.": True,
    }
    return " ".join(text for text, said in parts.items() if said)


def figure(
    found: Mapping[str, Importance], best: Mapping[str, Importance], colour: str
) -> go.Figure:
    """Draw two bars for each parameter with their ranges: what explains, what the best share."""
    ranked = sorted(found, key=lambda name: found[name].share)
    chart = go.Figure()
    bars = ((BEST, best, look.NEUTRAL, look.BEHIND), (EXPLAINS, found, colour, 1.0))
    for title, shares, shade, opacity in bars:
        items = [shares.get(name, Importance(share=0.0)) for name in ranked]
        chart.add_bar(
            name=title,
            x=[item.share for item in items],
            y=[words.label(name) for name in ranked],
            orientation="h",
            marker={"color": shade, "opacity": opacity},
            error_x=_whiskers(items) if any(item.high is not None for item in items) else None,
            hovertemplate=f"%{{y}}: %{{x:.0%}}<extra>{title}</extra>",
        )
    look.frame(chart, x="share", y="", height=132 + 44 * len(ranked), legend=True)
    chart.update_layout(legend_traceorder="reversed")
    return chart.update_xaxes(tickformat=".0%", rangemode="tozero")


def _whiskers(items: Sequence[Importance]) -> dict[str, object]:
    highs = [item.share if item.high is None else item.high for item in items]
    lows = [item.share if item.low is None else item.low for item in items]
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, high - i.share) for high, i in zip(highs, items, strict=True)],
        "arrayminus": [max(0.0, i.share - low) for low, i in zip(lows, items, strict=True)],
        "color": look.NEUTRAL,
        "thickness": 1.5,
    }
