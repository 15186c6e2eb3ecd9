"""All there is to know about the trials of one optimizer, a tab for each question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from autotune.app import (
    curves,
    fidelity,
    history,
    importance,
    listing,
    look,
    pairs,
    parallel,
    picker,
    queries,
    reliability,
    slices,
    timeline,
    words,
)
from autotune.app.axes import Axis
from autotune.app.fidelity import Sample
from autotune.app.queries import Snapshot
from autotune.app.reliability import Reliability
from autotune.pruners.ladder import rungs_of
from autotune.scheduler import widening
from autotune.studies.records import Role, TrialRecord, TrialState

COLUMNS = 3
SMALL = st.column_config.NumberColumn(format="%.3g")
LOSS = st.column_config.NumberColumn(format="%.6g")
FORMATS = {"lr": SMALL, "weight_decay": SMALL, "loss": LOSS, "accuracy": LOSS}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the reader picked."""

    url: str
    snapshot: Snapshot
    optimizer: str

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Every trial of the optimizer."""
        return self.snapshot.trials[self.optimizer]

    @property
    def colour(self) -> str:
        """The optimizer's colour, as on other pages."""
        return look.colours(self.snapshot.trials)[self.optimizer]

    @property
    def curves(self) -> fidelity.Curves:
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
    tabs = st.tabs(list(TABS), key="tab", bind="query-params")
    for tab, draw in zip(tabs, TABS.values(), strict=True):
        if tab.open:
            with tab:
                draw(shown)


def _history(shown: Shown) -> None:
    log = st.toggle("Logarithmic loss", key="logy", bind="query-params")
    chart = history.figure(shown.trials, shown.colour, log=log)
    event = st.plotly_chart(
        chart, key="history", config=look.CONFIG, on_select="rerun", selection_mode="points"
    )
    for point in event["selection"]["points"]:
        if point.get("customdata"):  # the line of the best has none
            _open(shown, int(point["x"]))
    st.caption(
        "Open symbols stopped or paused before full length: their loss is that of fewer steps."
    )


def _open(shown: Shown, number: int) -> None:
    """Open a trial's page."""
    where = {"search": shown.snapshot.search.name, "optimizer": shown.optimizer}
    st.switch_page("trial.py", query_params={**where, "trial": str(number)})


def _curves(shown: Shown) -> None:
    pick, slide, switch = st.columns([2, 3, 2], vertical_alignment="bottom")
    metric = pick.selectbox(
        "Metric",
        curves.metrics(shown.curves),
        format_func=curves.METRICS.__getitem__,
        key="metric",
        bind="query-params",
    )
    smooth = slide.slider("Smoothing", 0.0, 0.99, 0.0, key="smooth", bind="query-params")
    log = switch.toggle("Logarithmic", key="logy", bind="query-params")
    lines = curves.pick(shown.trials, shown.curves, metric)
    if not lines:
        st.info("No curve was recorded yet.")
        return
    chart = curves.figure(lines, shown.colour, metric=metric, smooth=smooth, log=log)
    st.plotly_chart(chart, key="curves", config=look.CONFIG)
    searched = sum(trial.role is Role.SEARCH for trial in shown.trials)
    if len(lines) == curves.LINES < searched:
        st.caption(f"The best {len(lines)} of {searched} search trials.")


def _effects(shown: Shown) -> None:
    compared, axes = queries.sample(shown.url, shown.snapshot, shown.optimizer)
    if not (compared.trials or compared.diverged) or not axes:
        st.info("No two settings have been measured yet.")
        return
    st.subheader("Importance")
    _importance(shown)
    if compared.trials:
        st.subheader("Slices")
        _slices(shown, compared, axes)
    if compared.trials and len(axes) > 1:
        st.subheader("Two parameters at once")
        _pairs(compared, axes)


def _importance(shown: Shown) -> None:
    found = queries.importance(shown.url, shown.snapshot, shown.optimizer)
    if found.explained.refusal:
        st.info(found.explained.refusal)
        return
    st.caption(importance.caption(found))
    chart = importance.figure(found.explained.shares, found.best, shown.colour)
    st.plotly_chart(chart, key="importance", config=look.CONFIG)


def _slices(shown: Shown, compared: Sample, axes: Sequence[Axis]) -> None:
    drawn = fidelity.share(compared, slices.POINTS)
    st.caption(f"{compared}, {drawn}. Crosses at the top edge diverged.")
    log = st.toggle("Logarithmic loss", key="logy", bind="query-params")
    for start in range(0, len(axes), COLUMNS):
        row = zip(st.columns(COLUMNS), axes[start : start + COLUMNS], strict=False)
        for column, axis in row:
            chart = slices.figure(compared, axis, shown.colour, log=log)
            column.plotly_chart(chart, key=f"slice {axis.name}", config=look.CONFIG)


def _pairs(compared: Sample, axes: Sequence[Axis]) -> None:
    names = [axis.name for axis in axes]
    left, right = st.columns(2)
    x = left.selectbox("Across", names, format_func=words.label, key="across", bind="query-params")
    others = [name for name in names if name != x]
    y = right.selectbox("Up", others, format_func=words.label, key="up", bind="query-params")
    known = {axis.name: axis for axis in axes}
    chart = pairs.figure(compared, known[x], known[y])
    st.plotly_chart(chart, key="pairs", config=look.CONFIG)
    st.caption("Dark points have the lowest losses; crosses diverged.")


def _reliability(shown: Shown) -> None:
    found = queries.reliability(shown.url, shown.snapshot, shown.optimizer)
    if found is None:
        st.info("This task has no steps: there are no rungs to compare.")
        return
    if found.found.warning:
        st.warning(words.plain(found.found.warning))
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
        row = zip(st.columns(COLUMNS), found.agreements[start : start + COLUMNS], strict=False)
        for column, agreement in row:
            chart = reliability.rungs(found, agreement, shown.colour)
            column.caption(reliability.title(agreement))
            column.plotly_chart(chart, key=f"rung {agreement.long}", config=look.CONFIG)


def _promotions(shown: Shown) -> None:
    steps = rungs_of(shown.snapshot.search.task).steps
    st.caption(
        "What came of each setting where trials are compared. Full runs not spent: what the "
        "settings that were stopped there would have cost, had they gone on."
    )
    st.dataframe(listing.rungs(shown.trials, steps), hide_index=True, alt="rungs")
    tried = queries.attempts(shown.url, shown.snapshot, shown.optimizer)
    if tried:
        st.subheader("Workers")
        chart = timeline.figure(tried, {trial.id: trial for trial in shown.trials})
        st.plotly_chart(chart, key="timeline", config=look.CONFIG)


def _seeds(shown: Shown, found: Reliability) -> None:
    if found.found.noise is None:
        st.info("No two settings have run on the same two seeds yet.")
        return
    st.plotly_chart(reliability.seeds(found.found, shown.colour), key="seeds", config=look.CONFIG)
    st.caption("Where seeds differ more than the best settings do, which of these is best is luck.")


def _parallel(shown: Shown) -> None:
    compared, axes = queries.sample(shown.url, shown.snapshot, shown.optimizer)
    if not compared.trials or not axes:
        st.info("No two settings have been measured yet.")
        return
    st.caption(
        f"{compared}, {fidelity.share(compared, parallel.LINES)}; coloured lines are the best. "
        "Drag along an axis to filter, click it to reset."
    )
    chart = parallel.figure(compared, axes, shown.colour)
    st.plotly_chart(chart, key="parallel", config=look.CONFIG)


def _trials(shown: Shown) -> None:
    left, middle, right = st.columns(3)
    states = left.multiselect(
        "State", [state.value for state in TrialState], key="states", bind="query-params"
    )
    roles = middle.multiselect(
        "Role", [role.value for role in Role], key="roles", bind="query-params"
    )
    text = right.text_input("Contains", key="text", bind="query-params", placeholder="any text")
    chosen = listing.matching(shown.trials, states, roles, text or "")
    if not chosen:
        st.info("No trial matches.")
        return
    table = listing.trials(chosen)
    st.caption(f"{len(chosen)} of {len(shown.trials)} trials; select one to open its page")
    event = st.dataframe(
        table,
        hide_index=True,
        column_config=FORMATS,
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
    table = listing.failures(shown.trials)
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
