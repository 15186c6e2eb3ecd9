"""All searches at a glance, and how the picked one is getting on."""

from __future__ import annotations

import streamlit as st

from autotune.app import (
    anytime,
    control,
    drawn,
    history,
    listing,
    now,
    picker,
    queries,
    words,
)
from autotune.app.queries import Snapshot
from autotune.errors import AutotuneError
from autotune.results.figures import figure
from autotune.studies.records import SearchState

LOSS = st.column_config.NumberColumn(format="%.6g")


def page() -> None:
    """Draw the page."""
    url = queries.storage()
    heading, switch = st.columns([5, 1], vertical_alignment="bottom")
    heading.header("Searches")
    live = switch.toggle("Live", value=True, key="live", help="Look for news every 2 seconds")
    watch(url, live)
    records = queries.searches(url)
    if records:
        st.dataframe(
            listing.searches(records),
            hide_index=True,
            column_config={"lowest trial loss": LOSS},
            alt="searches",
        )
    snapshot = picker.search(url)
    if snapshot is not None:
        _search(snapshot)


def watch(url: str, live: bool) -> None:
    """Draw the page again when something changed, and only then: a redrawn chart loses its zoom."""
    shown = queries.signature(url)

    @st.fragment(run_every=2 if live else None)
    def looking() -> None:
        try:
            news = live and queries.signature(url) != shown
        except AutotuneError as error:
            st.error(words.plain(str(error)))  # above what was read before
            return
        if news:
            st.rerun()

    looking()


def _search(snapshot: Snapshot) -> None:
    record, comparison = snapshot.search, snapshot.comparison
    st.markdown(f"**{words.plain(comparison.verdict)}**")
    for text in filter(None, (comparison.mixed, comparison.unequal, comparison.tried)):
        st.caption(words.plain(text))
    for text in comparison.longer:
        st.markdown("- " + words.plain(text))
    _links(record.name)
    _figures(snapshot)
    control.draw(queries.storage(), snapshot)
    if record.state is SearchState.RUNNING:
        _now(snapshot)
    st.dataframe(
        listing.studies(record),
        hide_index=True,
        column_config={"lowest trial loss": LOSS},
        alt="optimizers",
    )
    every = [trial for trials in snapshot.trials.values() for trial in trials]
    if not every:
        st.info("No trial yet.")
        return
    left, right = st.columns(2)
    with left:
        st.subheader("Best loss against cost")
        lines = {name: anytime.progress(trials) for name, trials in snapshot.trials.items()}
        if any(line.costs for line in lines.values()):
            drawn.figure(anytime.figure(lines), "anytime", says="Best loss against cost")
        else:
            st.info("No trial was completed yet.")
    with right:
        st.subheader("Activity")
        drawn.figure(history.activity(every), "activity", says="Trials that have ended")


def _now(snapshot: Snapshot) -> None:
    url = queries.storage()
    attempts = {name: queries.attempts(url, snapshot, name) for name in snapshot.trials}
    st.subheader("Now")
    with st.container(horizontal=True):
        st.metric("Stage", now.stage(snapshot.trials), border=True)
        for name, value in now.budget(snapshot.search, snapshot.trials).items():
            st.metric(name, value, border=True)
    table = now.workers(attempts, snapshot.trials)
    if table.empty:
        st.info("No worker runs a trial at this moment.")
    else:
        st.dataframe(table, hide_index=True, alt="what workers do")
    st.caption("What changed last")
    st.dataframe(
        now.newest(snapshot.trials),
        hide_index=True,
        column_config={"loss": LOSS},
        alt="trials that changed last",
    )


def _links(name: str) -> None:
    with st.container(horizontal=True):
        for target in ("compare", "study", "export"):
            st.page_link(f"{target}.py", label=target.capitalize(), query_params={"search": name})


def _figures(snapshot: Snapshot) -> None:
    record, comparison = snapshot.search, snapshot.comparison
    figures = {
        "State": record.state.value,
        "Trials": str(sum(row.trials for row in comparison.rows)),
        "Full runs spent": words.number(sum(row.runs for row in comparison.rows)),
        **_lowest(snapshot),
        "Wall time": words.duration(record.seconds),
    }
    with st.container(horizontal=True):
        for name, value in figures.items():
            st.metric(name, value, border=True)


def _lowest(snapshot: Snapshot) -> dict[str, str]:
    """Return the judged loss that the verdict speaks of, or before that a trial's lowest."""
    first = snapshot.comparison.rows[0]
    if first.tuned.loss is not None:
        return {f"Judged loss, {words.plain(first.optimizer)}": figure(first.tuned.loss.mean)}
    bests = [study.best for study in snapshot.search.studies if study.best is not None]
    return {"Lowest trial loss": figure(min(bests)) if bests else "none yet"}


if __name__ == "__main__":
    page()
