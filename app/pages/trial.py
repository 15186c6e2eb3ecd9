"""One trial: its setting, its curve among its neighbours, who ran it, and how to run it again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import streamlit as st

from autotune.app import clock, curves, drawn, listing, look, neighbours, picker, queries, words
from autotune.app.kept import Snapshot
from autotune.errors import AutotuneError
from autotune.search.stored import flag, written
from autotune.studies.names import COMMAND
from autotune.studies.records import Role, TrialRecord

LOSS = st.column_config.NumberColumn(format="%.6g")
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
        trial = picker.trial(snapshot, optimizer)
    if trial is None:
        st.info(f"No trial of {optimizer} yet.")
        return
    _outcome(trial)
    _setting(snapshot, optimizer, trial)
    _curve(url, snapshot, optimizer, trial)
    _again(snapshot, optimizer, trial)
    _attempts(url, snapshot, trial)
    _output(url, snapshot, optimizer, trial)
    _commands(url, snapshot, optimizer, trial)


def _outcome(trial: TrialRecord) -> None:
    figures = {
        "State": trial.state.value,
        "Loss": "none" if trial.loss is None else words.number(trial.loss),
        "Accuracy": "none" if trial.accuracy is None else f"{trial.accuracy:.1%}",
        "Step": f"{trial.step} of {trial.target}",
        "Training": words.duration(trial.seconds),
        "Stage": trial.role.value,
        "Seed": "none" if trial.role is Role.ADDED else str(trial.seed),
    }
    with st.container(horizontal=True):
        for name, value in figures.items():
            st.metric(name, value, border=True)
    if trial.reason:
        st.warning(words.plain(trial.reason))
    st.caption(_origin(trial))


def _origin(trial: TrialRecord) -> str:
    said = words.plain(trial.origin)
    if trial.role is Role.ADDED:
        return f"{said}. Samplers know it, and it does not count."
    return f"Origin of the setting: {said}."


def _setting(snapshot: Snapshot, optimizer: str, trial: TrialRecord) -> None:
    st.subheader("Setting")
    first = next(t for t in snapshot.trials[optimizer] if t.role is Role.SEARCH or t is trial)
    table = listing.changes(trial.setting, first.setting).map(words.plain)  # it reads Markdown
    # A phone would cut the betas in a data frame; here they are broken into lines.
    st.table(table, hide_index=True, alt="its setting")


@st.fragment
def _curve(url: str, snapshot: Snapshot, optimizer: str, trial: TrialRecord) -> None:
    st.subheader("Curve")
    known = queries.curves(url, snapshot, optimizer)
    pick, axis = st.columns(2)
    metric = drawn.metric(pick, known)
    against = drawn.against(axis, clock.CURVE, "along")
    lines = curves.among(snapshot.trials[optimizer], known, trial, metric)
    shown = neighbours.among(lines, trial.number)
    if not shown:
        st.info("No curve was recorded.")
        return
    colour = look.colours(snapshot.trials)[optimizer]
    chart = neighbours.figure(shown, colour, metric=metric, against=against)
    drawn.figure(
        chart,
        "curve",
        says=f"Learning curve of trial {trial.number} among its neighbours",
        numbers=lambda: curves.frame(shown, metric),
    )
    st.caption(f"Grey: the {curves.NEXT} trials of the same stage on each side of its rank.")


def _again(snapshot: Snapshot, optimizer: str, trial: TrialRecord) -> None:
    """Show the other runs of the same setting, on other seeds; a row opens its page."""
    others = listing.alike(snapshot.trials[optimizer], trial)
    if not others:
        return
    st.subheader("Other runs of this setting")
    key = f"alike {trial.number}"  # another trial's selection is no pick here
    st.dataframe(
        listing.runs(others),
        hide_index=True,
        column_config={"loss": LOSS, "accuracy": LOSS},
        key=key,
        alt="other runs of this setting",
        placeholder="",
        on_select=partial(_go, key, [other.number for other in others]),
        selection_mode="single-row",
    )


def _go(key: str, numbers: Sequence[int]) -> None:
    """Show the trial of the selected row; its number is a widget's, which the address follows."""
    for row in st.session_state[key]["selection"]["rows"]:
        st.session_state[picker.TRIAL] = numbers[row]


def _attempts(url: str, snapshot: Snapshot, trial: TrialRecord) -> None:
    own = queries.attempts_at(url, trial)
    if own:
        st.subheader("Attempts")
        zone = words.zone(st.context.timezone)
        st.dataframe(listing.attempts(own, zone), hide_index=True, alt="attempts")
    with st.expander("Versions and machine"):
        st.json({"environment": dict(snapshot.search.environment), **snapshot.search.task})


def _output(url: str, snapshot: Snapshot, optimizer: str, trial: TrialRecord) -> None:
    if trial.output:
        st.subheader("Last output")
        st.code("\n".join(trial.output), language=None, wrap_lines=True)
    with st.expander("Log"):
        if COMMAND not in snapshot.search.task:
            st.info("It ran no command, so it has no log.")
            return
        # Where a log lies is known to what trains, which takes a second to import.
        from autotune.search import details

        try:
            pieces = details.log(url, f"{snapshot.search.name}/{optimizer}", trial.number)
            lines = b"".join(pieces).decode(errors="replace").splitlines()
        except AutotuneError as error:
            st.info(words.plain(str(error)))
            return
        st.caption(f"The last {min(LINES, len(lines))} of {len(lines)} lines")
        st.code("\n".join(lines[-LINES:]), language=None, wrap_lines=True)


def _commands(url: str, snapshot: Snapshot, optimizer: str, trial: TrialRecord) -> None:
    study = written(snapshot.search.name, optimizer)
    st.subheader("From a terminal")
    again = f"autotune show {study} {trial.number} --rerun{flag(url)}\n"
    export = f"autotune export {study} --trial {trial.number} --as torch{flag(url)}"
    again = "" if trial.role is Role.ADDED else again
    st.code(f"{again}{export}", language="bash", wrap_lines=True)
    where = {"search": snapshot.search.name, "optimizer": optimizer, "which": "trial"}
    st.page_link(
        "export.py",
        label="Export this setting",
        query_params={**where, "trial": str(trial.number)},
    )


if __name__ == "__main__":
    page()
