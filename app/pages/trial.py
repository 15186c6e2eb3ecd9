"""One trial: its setting, its curve among its neighbours, who ran it, and how to run it again."""

from __future__ import annotations

import streamlit as st

from autotune.app import clock, curves, drawn, listing, look, neighbours, picker, queries, words
from autotune.app.queries import Snapshot
from autotune.errors import AutotuneError
from autotune.search import details
from autotune.search.stored import flag, written
from autotune.studies.records import Role, TrialRecord

LINES = 200  # of a command's output


def page() -> None:
    """Draw the page."""
    st.header("Trial")
    url = queries.storage()
    columns = st.columns(3)
    with columns[0]:
        snapshot = picker.search(url)
    if snapshot is None:
        return
    with columns[1]:
        optimizer = picker.optimizer(snapshot)
    with columns[2]:
        trial = _pick(snapshot, optimizer)
    if trial is None:
        st.info(f"No trial of {optimizer} yet.")
        return
    _outcome(trial)
    _setting(snapshot, optimizer, trial)
    _curve(url, snapshot, optimizer, trial)
    _attempts(url, snapshot, optimizer, trial)
    _output(url, snapshot, optimizer, trial)
    _commands(url, snapshot, optimizer, trial)


def _pick(snapshot: Snapshot, optimizer: str) -> TrialRecord | None:
    """Let the reader pick a trial by its number, which the address keeps."""
    trials = {trial.number: trial for trial in snapshot.trials[optimizer]}
    if not trials:
        return None
    number = st.number_input(
        "Trial",
        min_value=0,
        max_value=max(trials),
        value=0,
        step=1,
        key="trial",
        bind="query-params",
    )
    return trials.get(int(number))


def _outcome(trial: TrialRecord) -> None:
    figures = {
        "State": trial.state.value,
        "Loss": "none" if trial.loss is None else words.number(trial.loss),
        "Accuracy": "none" if trial.accuracy is None else f"{trial.accuracy:.1%}",
        "Step": f"{trial.step} of {trial.target}",
        "Training": words.duration(trial.seconds),
        "Stage": trial.role.value,
        "Seed": str(trial.seed),
    }
    with st.container(horizontal=True):
        for name, value in figures.items():
            st.metric(name, value, border=True)
    if trial.reason:
        st.warning(words.plain(trial.reason))
    rerun = "" if trial.source is None else f", the setting of trial {trial.source}"
    st.caption(f"Proposed by {words.plain(trial.origin)}{rerun}.")


def _setting(snapshot: Snapshot, optimizer: str, trial: TrialRecord) -> None:
    st.subheader("Setting")
    first = next(t for t in snapshot.trials[optimizer] if t.role is Role.SEARCH or t is trial)
    st.dataframe(listing.changes(trial.setting, first.setting), hide_index=True, alt="its setting")


def _curve(url: str, snapshot: Snapshot, optimizer: str, trial: TrialRecord) -> None:
    st.subheader("Curve")
    known = queries.curves(url, snapshot, optimizer)
    pick, axis = st.columns(2)
    metric = pick.selectbox(
        "Metric",
        curves.metrics(known),
        format_func=curves.METRICS.__getitem__,
        key="metric",
        bind="query-params",
    )
    against = drawn.against(axis, clock.CURVE, "along")
    lines = curves.among(snapshot.trials[optimizer], known, trial, metric)
    shown = neighbours.among(lines, trial.number)
    if not shown:
        st.info("No curve was recorded.")
        return
    colour = look.colours(snapshot.trials)[optimizer]
    chart = neighbours.figure(shown, colour, metric=metric, against=against)
    drawn.figure(chart, "curve", numbers=lambda: curves.frame(shown, metric))
    st.caption(f"Grey: the {neighbours.NEXT} trials of the same stage on each side of its rank.")


def _attempts(url: str, snapshot: Snapshot, optimizer: str, trial: TrialRecord) -> None:
    own = [a for a in queries.attempts(url, snapshot, optimizer) if a.trial == trial.id]
    if own:
        st.subheader("Attempts")
        st.dataframe(listing.attempts(own), hide_index=True, alt="attempts")
    with st.expander("Versions and machine"):
        st.json({"environment": dict(snapshot.search.environment), **snapshot.search.task})


def _output(url: str, snapshot: Snapshot, optimizer: str, trial: TrialRecord) -> None:
    if trial.output:
        st.subheader("Last output")
        st.code("\n".join(trial.output), language=None)
    with st.expander("Log"):
        try:
            pieces = details.log(url, f"{snapshot.search.name}/{optimizer}", trial.number)
            lines = b"".join(pieces).decode(errors="replace").splitlines()
        except AutotuneError as error:
            st.info(words.plain(str(error)))
            return
        st.caption(f"The last {min(LINES, len(lines))} of {len(lines)} lines")
        st.code("\n".join(lines[-LINES:]), language=None)


def _commands(url: str, snapshot: Snapshot, optimizer: str, trial: TrialRecord) -> None:
    study = written(snapshot.search.name, optimizer)
    st.subheader("From a terminal")
    again = f"autotune show {study} {trial.number} --rerun{flag(url)}"
    export = f"autotune export {study} --trial {trial.number} --as torch{flag(url)}"
    st.code(f"{again}\n{export}", language="bash")


if __name__ == "__main__":
    page()
