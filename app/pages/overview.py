"""All searches at a glance, and how the picked one is getting on."""

from __future__ import annotations

import time
from collections.abc import Sequence

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
from autotune.app.kept import Snapshot
from autotune.errors import AutotuneError
from autotune.results.figures import figure
from autotune.studies.records import SearchRecord, SearchState

LOSS = st.column_config.NumberColumn(format="%.6g")
LOOKS = 2.0  # seconds between looks at what runs now
CHARTS = 10.0  # seconds for which a chart stays as it was drawn


def page() -> None:
    """Draw the page."""
    url = queries.storage()
    heading, pick, switch = st.columns([3, 2, 1], vertical_alignment="bottom")
    heading.header("Searches")
    live = switch.toggle("Live", value=True, key="live", help="Look for news every 2 seconds")
    with pick:
        snapshot = picker.search(url)
    _live(url, live, snapshot)
    if snapshot is not None:
        _charts(snapshot)


def _live(url: str, live: bool, old: Snapshot | None) -> None:
    """Draw what changes from one moment to the next, again and again, the charts now and then.

    A redrawn chart loses its zoom, and drawing takes a browser longer than words do.
    """
    begun = time.monotonic()
    seen: list[SearchRecord] = []

    @st.fragment(run_every=LOOKS if live else None)
    def looking() -> None:
        refused = False
        try:
            seen[:] = queries.searches(url)
            here = old is not None and old.search.name in {record.name for record in seen}
            snapshot = queries.snapshot(url, old.search.name) if old and here else None
        except AutotuneError as error:
            st.error(words.plain(str(error)))  # above what was read before
            snapshot, refused = old, True
        if old is not None and not seen:
            st.warning("No search is there at present; below is what was read last.")
            snapshot, refused = old, True
        if live and _due(old, snapshot, bool(seen), time.monotonic() - begun):
            st.rerun()
        _searches(seen)
        if snapshot is not None:
            _search(snapshot, refused=refused)

    looking()


def _due(old: Snapshot | None, now: Snapshot | None, found: bool, passed: float) -> bool:
    """Return whether the whole page is to be drawn again.

    Args:
        old: The search as its charts show it; None: there was none to show.
        now: As it stands.
        found: Whether there is any search.
        passed: Seconds since the page was drawn.
    """
    if old is None or now is None:
        return found and passed > LOOKS / 2  # in the run that drew it, there is nothing newer
    if now.signature == old.signature and now.search.state is old.search.state:
        return False
    return passed >= CHARTS or now.search.state is not old.search.state


def _searches(records: Sequence[SearchRecord]) -> None:
    if records:
        st.dataframe(
            listing.searches(records),
            hide_index=True,
            column_config={"lowest trial loss": LOSS},
            alt="searches",
            placeholder="",
        )


def _search(snapshot: Snapshot, *, refused: bool) -> None:
    """Draw how a search is getting on; without what only the database knows where it refused."""
    record, comparison = snapshot.search, snapshot.comparison
    verdict = words.headline(comparison.verdict, snapshot.trials)
    st.markdown(f"**{words.plain(verdict)}**")
    for text in filter(None, (comparison.mixed, comparison.unequal, comparison.tried)):
        st.caption(words.plain(words.headline(text)))
    for text in comparison.longer:
        st.markdown("- " + words.plain(text))
    _links(record.name)
    _figures(snapshot)
    if not refused:
        control.draw(queries.storage(), snapshot)
        if record.state is SearchState.RUNNING:
            _now(snapshot)
    st.dataframe(
        listing.studies(record),
        hide_index=True,
        column_config={"lowest trial loss": LOSS},
        alt="optimizers",
        placeholder="",
    )


def _charts(snapshot: Snapshot) -> None:
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
    attempts = {name: queries.open_attempts(url, snapshot, name) for name in snapshot.trials}
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
        placeholder="",
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
