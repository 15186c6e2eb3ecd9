"""Optimizers beside each other on a page: curves of judged settings, and losses against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from autotune.app import anytime, clock, drawn, judged
from autotune.app.points import Curves
from autotune.results.comparison import Row
from autotune.studies.records import TrialRecord


@st.fragment
def draw_curves(
    rows: Sequence[Row],
    trials: Mapping[str, Sequence[TrialRecord]],
    known: Mapping[str, Curves],
    *,
    references: bool = True,
) -> None:
    """Draw the learning curves of judged settings.

    Args:
        rows: The optimizers.
        trials: By optimizer.
        known: Their curves, by optimizer.
        references: Whether default and authors' settings are drawn beside tuned ones.
    """
    st.subheader("Learning curves of the judged settings")
    pick, axis, switch = st.columns([2, 2, 3], vertical_alignment="bottom")
    metric = drawn.metric(pick, *known.values())
    against = drawn.against(axis, clock.CURVE, "along")
    log = switch.toggle("Logarithmic", key="logcurves", bind="query-params")
    bands = judged.bands(rows, trials, known, metric, references=references)
    if not bands:
        st.info("No curve of a judged run was recorded.")
        return
    chart = judged.figure(bands, metric=metric, log=log, against=against)
    drawn.figure(chart, "judged", says="Learning curves of the judged settings")
    st.caption("Lines are means over seeds, shades reach from the lowest seed to the highest.")


@st.fragment
def draw_spending(trials: Mapping[str, Sequence[TrialRecord]]) -> None:
    """Draw how the best loss of each optimizer fell as its search spent.

    Args:
        trials: By optimizer.
    """
    if not any(anytime.begun(those) for those in trials.values()):
        return
    st.subheader("Best loss against cost")
    st.caption("Lowest loss of a completed search trial, on one seed; the judged losses are above.")
    pick, switch = st.columns([2, 5], vertical_alignment="bottom")
    against = drawn.against(pick, clock.SPENDING, "against")
    log = switch.toggle("Logarithmic loss", key="logy", bind="query-params")
    lines = {name: anytime.progress(those, against) for name, those in trials.items()}
    drawn.figure(anytime.figure(lines, log=log), "anytime", says="Best loss against cost")
