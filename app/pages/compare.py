"""The verdict: each optimizer's default against its tuned setting, and against tuned AdamW."""

from __future__ import annotations

import streamlit as st

from autotune.app import (
    contenders,
    drawn,
    listing,
    look,
    outcome,
    pareto,
    picker,
    queries,
    words,
)
from autotune.app.kept import Snapshot
from autotune.results.comparison import Comparison, Row
from autotune.results.phrases import FEW
from autotune.search.stored import flag, written


def page() -> None:
    """Draw the page."""
    st.header("Compare")
    url = queries.storage()
    snapshot = picker.search(url)
    if snapshot is None:
        return
    comparison = snapshot.comparison
    names = [row.optimizer for row in comparison.rows]
    st.subheader(words.plain(words.headline(comparison.verdict, names)))
    for text in filter(None, (*comparison.beside, comparison.tried)):
        st.caption(words.plain(words.headline(text)))
    for row in comparison.rows[:FEW]:
        _concluded(row)
    if len(comparison.rows) > FEW:
        with st.expander(f"{len(comparison.rows) - FEW} other optimizers"):
            for row in comparison.rows[FEW:]:
                _concluded(row)
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
    _longer(comparison)
    _cost(snapshot)
    st.download_button(
        "Report",
        data=lambda: _report(url, snapshot.search.name),
        file_name=f"{snapshot.search.name}.html",
        mime="text/html",
        on_click="ignore",
        help="Verdict, tables and figures in one file that opens without a network",
    )


def _concluded(row: Row) -> None:
    said = "; ".join(text for text in (row.verdict, row.reference_verdict) if text)
    st.markdown("- " + words.plain(words.headline(said, [row.optimizer])))


def _report(url: str, name: str) -> str:
    # A report tells what trains, too, which takes a second and 180 MB to import.
    from autotune.app import report

    return report.report(url, name)


def _judged(comparison: Comparison) -> None:
    st.subheader("Loss at full length")
    st.caption("Small points are seeds, diamonds their means.")
    drawn.figure(outcome.losses(comparison.rows), "losses", says="Loss at full length")
    gained = {row.optimizer: row.difference for row in comparison.rows if row.difference}
    against = {row.optimizer: row.against_reference for row in comparison.rows}
    rivals = {name: difference for name, difference in against.items() if difference}
    st.caption(
        "Differences below are paired by seed; left of zero the tuned setting is better. "
        + words.plain(outcome.stricter(comparison.rows))
    )
    colours = look.colours(row.optimizer for row in comparison.rows)
    left, right = st.columns(2)
    for column, title, pairs, other in (
        (left, "What tuning gained", gained, _references(comparison)),
        (right, "Against tuned AdamW", rivals, "tuned adamw"),
    ):
        if pairs:
            column.subheader(title)
            chart = outcome.differences(pairs, colours, against=other)
            drawn.figure(chart, title, says=title, place=column)


def _curves(snapshot: Snapshot) -> None:
    url = queries.storage()
    known = {name: queries.curves(url, snapshot, name) for name in snapshot.trials}
    contenders.draw_curves(snapshot.comparison.rows, snapshot.trials, known)


def _longer(comparison: Comparison) -> None:
    """Show what became of it in longer runs, or how to find out."""
    if not comparison.validations:
        st.subheader("In longer runs")
        st.caption("Not tried. Tuned and default settings run for longer, on fresh seeds, with:")
        command = f"autotune validate {written(comparison.search.name)} --steps 5x"
        st.code(command + flag(queries.storage()), language="bash", wrap_lines=True)
    for one in comparison.validations:
        title = f"{one.optimizer} in runs {one.times:.4g} times as long"
        st.subheader(words.plain(title))
        for text in one.doubts:
            st.caption(words.plain(text))
        drawn.figure(outcome.longer(one), f"longer {one.number}", says=title)
        st.dataframe(listing.longer(one), hide_index=True, alt=f"longer runs {one.number}")


def _references(comparison: Comparison) -> str:
    return " or ".join(sorted({row.default.word for row in comparison.rows}, reverse=True))


def _cost(snapshot: Snapshot) -> None:
    contenders.draw_spending(snapshot.trials)
    if any(pareto.measured(trials) for trials in snapshot.trials.values()):
        st.subheader("Loss against the time of a step")
        st.caption("Of completed search trials; trials that ran side by side slow each other down.")
        drawn.figure(
            pareto.figure(snapshot.trials), "pareto", says="Loss against the time of a step"
        )


if __name__ == "__main__":
    page()
