"""All there is to know about the trials of one optimizer, a tab for each question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import streamlit as st

from autotune.app import (
    clock,
    curves,
    drawn,
    fidelity,
    history,
    importance,
    listing,
    look,
    pairs,
    parallel,
    picker,
    picks,
    queries,
    reliability,
    slices,
    timeline,
    words,
)
from autotune.app.axes import Axis
from autotune.app.fidelity import Sample
from autotune.app.kept import Snapshot
from autotune.app.points import Points
from autotune.app.reliability import Reliability
from autotune.pruners.ladder import rungs_of
from autotune.scheduler import widening
from autotune.studies.records import Role, TrialRecord

COLUMNS = 3
NONE = "No trial matches."
SMALL = st.column_config.NumberColumn(format="%.3g")
LOSS = st.column_config.NumberColumn(format="%.6g")
FORMATS = {"loss": LOSS, "accuracy": st.column_config.NumberColumn(format="%.4g")}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the reader picked."""

    url: str
    snapshot: Snapshot
    optimizer: str
    numbers: frozenset[int] | None = None  # of the trials that match the filter; None: of all

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Every trial of the optimizer."""
        return self.snapshot.trials[self.optimizer]

    @property
    def matching(self) -> tuple[TrialRecord, ...]:
        """Those that match the filter."""
        if self.numbers is None:
            return self.trials
        return tuple(trial for trial in self.trials if trial.number in self.numbers)

    @property
    def sample(self) -> tuple[Sample, list[Axis]]:
        """Settings that match the filter and may be compared, and the axes that all vary on."""
        found, varied = queries.sample(self.url, self.snapshot, self.optimizer)
        return fidelity.narrowed(found, self.numbers), varied

    @property
    def colour(self) -> str:
        """The optimizer's colour, as on other pages."""
        return look.colours(self.snapshot.trials)[self.optimizer]

    @property
    def curves(self) -> Points:
        """Curves by trial."""
        return queries.curves(self.url, self.snapshot, self.optimizer)


def page() -> None:
    """Draw the page."""
    st.header("Study")
    url = queries.storage()
    left, right = st.columns(2)
    with left:
        snapshot = picker.search(url)
    if snapshot is None:
        return
    with right:
        optimizer = picker.optimizer(snapshot)
    shown = Shown(url=url, snapshot=snapshot, optimizer=optimizer)
    if not shown.trials:
        st.info(f"No trial of {optimizer} yet.")
        return
    shown = replace(shown, numbers=picks.chosen(shown.trials))
    tabs = st.tabs(list(TABS), key="tab", bind="query-params")
    for tab, draw in zip(tabs, TABS.values(), strict=True):
        if tab.open:
            with tab:
                _tab(draw, shown)


@st.fragment
def _tab(draw: Callable[[Shown], None], shown: Shown) -> None:
    """Draw a tab; what is changed on it draws it again, and not the page around it."""
    if picks.taken():
        st.rerun()  # the filter stands above the tabs
    draw(shown)


def _history(shown: Shown) -> None:
    pick, switch = st.columns([2, 5], vertical_alignment="bottom")
    against = drawn.against(pick, clock.SEARCH, "against")
    log = switch.toggle("Logarithmic loss", key="logy", bind="query-params")
    chart = history.figure(
        shown.trials, shown.colour, log=log, against=against, shown=shown.numbers
    )
    selection = drawn.figure(chart, "history", says="Loss of each trial", **_selecting("history"))[
        "selection"
    ]
    if not (selection["box"] or selection["lasso"]):
        for point in selection["points"]:
            if point.get("customdata"):  # the line of the best has none
                _open(shown, int(point["customdata"][0]))
    st.caption(
        "Open symbols stopped or paused before full length: their loss is that of fewer steps."
    )


def _selecting(key: str) -> dict[str, Any]:
    """Return what makes framed points of a figure the picked trials."""
    return {"on_select": partial(picks.take, key), "selection_mode": ("points", "box", "lasso")}


def _open(shown: Shown, number: int) -> None:
    """Open a trial's page."""
    where = {"search": shown.snapshot.search.name, "optimizer": shown.optimizer}
    st.switch_page("trial.py", query_params={**where, "trial": str(number)})


def _curves(shown: Shown) -> None:
    pick, axis, slide, switch = st.columns([2, 2, 3, 2], vertical_alignment="bottom")
    metric = drawn.metric(pick, shown.curves)
    against = drawn.against(axis, clock.CURVE, "along")
    smooth = slide.slider("Smoothing", 0.0, 0.99, 0.0, key="smooth", bind="query-params")
    log = switch.toggle("Logarithmic", key="logy", bind="query-params")
    lines = curves.pick(shown.matching, shown.curves, metric)
    if not lines:
        st.info("No curve was recorded yet." if shown.numbers is None else NONE)
        return
    chart = curves.figure(
        lines, shown.colour, metric=metric, smooth=smooth, log=log, against=against
    )
    drawn.figure(
        chart, "curves", says="Learning curves", numbers=lambda: curves.frame(lines, metric)
    )
    searched = sum(trial.role is Role.SEARCH for trial in shown.matching)
    if len(lines) == curves.LINES < searched:
        st.caption(f"The best {len(lines)} of {searched} search trials.")


def _effects(shown: Shown) -> None:
    compared, axes = shown.sample
    if not axes:
        st.info(_nothing(compared))
        return
    st.subheader("Importance")
    _importance(shown)
    if not compared.trials and shown.numbers is not None:
        st.info(NONE)
    if compared.trials:
        st.subheader("Slices")
        _slices(shown, compared, axes)
    if compared.trials and len(axes) > 1:
        st.subheader("Two parameters at once")
        _pairs(compared, axes)


def _nothing(compared: Sample) -> str:
    if len(compared.trials) < 2:
        return "No two settings have been measured yet."
    return f"The {len(compared.trials)} settings that were measured do not differ in any parameter."


def _importance(shown: Shown) -> None:
    found = queries.importance(shown.url, shown.snapshot, shown.optimizer)
    if found.explained.refusal:
        st.info(found.explained.refusal)
        return
    st.caption(importance.caption(found))
    chart = importance.figure(found.explained.shares, found.best, shown.colour)
    drawn.figure(chart, "importance", says="Importance of the parameters")


def _slices(shown: Shown, compared: Sample, axes: Sequence[Axis]) -> None:
    part = fidelity.share(compared, slices.POINTS)
    st.caption(f"{compared}, {part}. Crosses at the top edge diverged.")
    log = st.toggle("Logarithmic loss", key="logy", bind="query-params")
    for start in range(0, len(axes), COLUMNS):
        row = zip(st.columns(COLUMNS), axes[start : start + COLUMNS], strict=False)
        for column, axis in row:
            chart = slices.figure(compared, axis, shown.colour, log=log)
            key = f"slice {axis.name}"
            says = f"Loss by {words.label(axis.name)}"
            drawn.figure(chart, key, says=says, place=column, **_selecting(key))


def _pairs(compared: Sample, axes: Sequence[Axis]) -> None:
    names = [axis.name for axis in sorted(axes, key=lambda axis: bool(axis.choices))]
    left, right = st.columns(2)
    x = left.selectbox("Across", names, format_func=words.label, key="across", bind="query-params")
    others = [name for name in names if name != x]
    y = right.selectbox("Up", others, format_func=words.label, key="up", bind="query-params")
    known = {axis.name: axis for axis in axes}
    chart = pairs.figure(compared, known[x], known[y])
    drawn.figure(chart, "pairs", says="Loss over two parameters", **_selecting("pairs"))
    st.caption("Blue points have the lowest losses; crosses diverged.")


def _reliability(shown: Shown) -> None:
    found = queries.reliability(shown.url, shown.snapshot, shown.optimizer)
    if found is None:
        st.info("This task has no steps: there are no rungs to compare.")
        return
    if found.found.warning:
        st.warning(words.plain(words.headline(found.found.warning)))
    for text in widening.widened_ranges(shown.snapshot.study(shown.optimizer).space):
        st.info(words.plain(text))
    st.subheader("What short runs are worth")
    _rungs(shown, found)
    st.subheader("What one seed is worth")
    _seeds(shown, found)


def _rungs(shown: Shown, found: Reliability) -> None:
    if not found.agreements:
        st.info(reliability.nothing())
        return
    st.caption(
        "Each point is a setting. Rungs that order settings alike put them on a rising line; "
        "choosing needs that among the best tenth, not over all."
    )
    for start in range(0, len(found.agreements), COLUMNS):
        columns = st.columns(COLUMNS, vertical_alignment="bottom")  # titles may take two lines
        row = zip(columns, found.agreements[start : start + COLUMNS], strict=False)
        for column, agreement in row:
            chart = reliability.rungs(found, agreement, shown.colour)
            column.caption(reliability.title(agreement))
            says = f"Losses at two rungs, {reliability.title(agreement)}"
            drawn.figure(chart, f"rung {agreement.long}", says=says, place=column)


def _promotions(shown: Shown) -> None:
    steps = rungs_of(shown.snapshot.search.task).steps
    st.caption(
        "What came of each setting where trials are compared. Full runs not spent: what the "
        "settings that were stopped there would have cost, had they gone on."
    )
    st.dataframe(listing.rungs(shown.trials, steps), hide_index=True, alt="rungs")
    tried = queries.newest_attempts(shown.url, shown.snapshot, shown.optimizer, timeline.BARS)
    if tried:
        st.subheader("Workers")
        chart = timeline.figure(tried, {trial.id: trial for trial in shown.trials})
        drawn.figure(chart, "timeline", says="What each worker ran")


def _seeds(shown: Shown, found: Reliability) -> None:
    if found.found.noise is None:
        st.info("No two settings have run on the same two seeds yet.")
        return
    chart = reliability.seeds(found.found, shown.colour)
    drawn.figure(chart, "seeds", says="Noise of seeds beside the spread of settings")
    st.caption("Where seeds differ more than the best settings do, which of these is best is luck.")


def _parallel(shown: Shown) -> None:
    compared, axes = shown.sample
    if not compared.trials or not axes:
        st.info(_nothing(compared) if shown.numbers is None else NONE)
        return
    st.caption(
        f"{compared}, {fidelity.share(compared, parallel.LINES)}; the best quarter is coloured. "
        "Drag along an axis to filter, click it to reset."
    )
    chart = parallel.figure(compared, axes, shown.colour)
    drawn.figure(
        chart,
        "parallel",
        says="Parallel coordinates of the settings",
        numbers=lambda: listing.trials(compared.trials),
    )


def _trials(shown: Shown) -> None:
    values = [role.value for role in Role]
    roles = st.multiselect("Stage", values, key="roles", bind="query-params")
    chosen = listing.matching(shown.matching, (), roles, "")
    if not chosen:
        st.info(NONE)
        return
    table = listing.trials(chosen)
    formats: dict[str, Any] = dict.fromkeys(map(str, table.select_dtypes("float")), SMALL)
    st.caption(f"{len(chosen)} of {len(shown.trials)} trials; select one to open its page")
    event = st.dataframe(
        table,
        hide_index=True,
        column_config=formats | FORMATS,
        placeholder="",
        key="trials",
        alt="trials",
        on_select="rerun",
        selection_mode="single-row",
    )
    for row in event["selection"]["rows"]:
        _open(shown, chosen[row].number)
    st.download_button(
        "CSV",
        data=lambda: listing.csv(table),
        file_name=f"{shown.optimizer}.csv",
        mime="text/csv",
        on_click="ignore",
    )


def _failures(shown: Shown) -> None:
    table = listing.failures(shown.matching)
    if table.empty:
        st.info("No trial diverged or failed.")
        return
    counts = table.groupby(["state", "reason"], sort=False).size().reset_index(name="trials")
    st.subheader("Reasons")
    st.dataframe(counts.sort_values("trials", ascending=False), hide_index=True, alt="reasons")
    st.subheader("Trials")
    st.dataframe(table, hide_index=True, key="failures", alt="trials that ended early")


TABS = {
    "History": _history,
    "Curves": _curves,
    "Importance and slices": _effects,
    "Parallel coordinates": _parallel,
    "Reliability": _reliability,
    "Rungs and workers": _promotions,
    "Trials": _trials,
    "Failures": _failures,
}
if __name__ == "__main__":
    page()
