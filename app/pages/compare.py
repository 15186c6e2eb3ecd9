"""The verdict: each optimizer's default against its tuned setting, and against tuned AdamW."""

from __future__ import annotations

import streamlit as st

from autotune.app import (
    anytime,
    curves,
    judged,
    listing,
    look,
    outcome,
    pareto,
    picker,
    queries,
    words,
)
from autotune.app.queries import Snapshot
from autotune.results.comparison import Comparison


def page() -> None:
    """Draw the page."""
    st.header("Compare")
    url = queries.storage()
    snapshot = picker.search(url)
    if snapshot is None:
        return
    comparison = snapshot.comparison
    st.subheader(words.plain(comparison.verdict))
    for text in filter(None, (comparison.mixed, comparison.unequal, comparison.tried)):
        st.caption(words.plain(text))
    for row in comparison.rows:
        spoken = [row.verdict, row.reference_verdict]
        st.markdown("- " + words.plain("; ".join(text for text in spoken if text)))
    for text in comparison.longer:
        st.markdown("- " + words.plain(text))
    table, same = listing.contenders(comparison)
    st.dataframe(table, hide_index=True, alt="default and tuned settings")
    if same:
        st.caption(f"The same wherever it applies: {words.plain(same)}.")
    if any(row.default.loss or row.tuned.loss for row in comparison.rows):
        _judged(comparison)
        _curves(snapshot)
    else:
        st.info(
            "No setting was judged yet: that comes last, on fresh seeds. "
            "Continue the search to get there; Study shows what was tried so far."
        )
    _cost(snapshot)
    st.download_button(
        "Report",
        data=lambda: _report(url, snapshot.search.name),
        file_name=f"{snapshot.search.name}.html",
        mime="text/html",
        on_click="ignore",
        help="Verdict, tables and figures in one file that opens without a network",
    )


def _report(url: str, name: str) -> str:
    # Importance brings Optuna, which takes a second to import: not before somebody asks for it.
    from autotune.app import report

    return report.report(url, name)


def _judged(comparison: Comparison) -> None:
    st.subheader("Loss at full length")
    st.caption("Small points are seeds, diamonds their means.")
    st.plotly_chart(outcome.losses(comparison.rows), key="losses", config=look.CONFIG)
    gained = {row.optimizer: row.difference for row in comparison.rows if row.difference}
    against = {row.optimizer: row.against_reference for row in comparison.rows}
    rivals = {name: difference for name, difference in against.items() if difference}
    st.caption("Differences below are paired by seed; left of zero the tuned setting is better.")
    colours = look.colours(row.optimizer for row in comparison.rows)
    left, right = st.columns(2)
    for column, title, pairs, other in (
        (left, "What tuning gained", gained, _references(comparison)),
        (right, "Against tuned AdamW", rivals, "tuned adamw"),
    ):
        if pairs:
            column.subheader(title)
            chart = outcome.differences(pairs, colours, against=other)
            column.plotly_chart(chart, key=title, config=look.CONFIG)


def _curves(snapshot: Snapshot) -> None:
    url = queries.storage()
    each = {name: queries.curves(url, snapshot, name) for name in snapshot.trials}
    every = {key: points for own in each.values() for key, points in own.items()}
    st.subheader("Learning curves of the judged settings")
    pick, switch = st.columns([2, 5], vertical_alignment="bottom")
    metric = pick.selectbox(
        "Metric",
        curves.metrics(every),
        format_func=curves.METRICS.__getitem__,
        key="metric",
        bind="query-params",
    )
    log = switch.toggle("Logarithmic", key="logcurves", bind="query-params")
    bands = judged.bands(snapshot.comparison.rows, snapshot.trials, each, metric)
    if not bands:
        st.info("No curve of a judged run was recorded.")
        return
    chart = judged.figure(bands, metric=metric, log=log)
    st.plotly_chart(chart, key="judged", config=look.CONFIG)
    st.caption("Lines are means over seeds, shades reach from the lowest seed to the highest.")


def _references(comparison: Comparison) -> str:
    return " or ".join(sorted({row.default.word for row in comparison.rows}, reverse=True))


def _cost(snapshot: Snapshot) -> None:
    lines = {name: anytime.progress(trials) for name, trials in snapshot.trials.items()}
    if not any(line.costs for line in lines.values()):
        return
    st.subheader("Best loss against cost")
    st.caption("Lowest loss of a completed search trial, on one seed; the judged losses are above.")
    log = st.toggle("Logarithmic loss", key="logy", bind="query-params")
    st.plotly_chart(anytime.figure(lines, log=log), key="anytime", config=look.CONFIG)
    if any(pareto.measured(trials) for trials in snapshot.trials.values()):
        st.subheader("Loss against the time of a step")
        st.caption("Of completed search trials; trials that ran side by side slow each other down.")
        st.plotly_chart(pareto.figure(snapshot.trials), key="pareto", config=look.CONFIG)


if __name__ == "__main__":
    page()
