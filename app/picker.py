"""Which search and optimizer a page shows: chosen here, remembered in the address."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from autotune.app import queries, words
from autotune.app.kept import Snapshot
from autotune.studies import urls
from autotune.studies.records import TrialRecord

KEPT = "kept_"
BESIDE, TRIAL = "beside", "trial"
NOUNS = {BESIDE: "search"}  # of keys that are no nouns
COMMAND = "autotune search --model resnet-mini --trials 6"


def search(url: str) -> Snapshot | None:
    """Let the reader pick a search; None, with what to do said, when there is none."""
    names = [record.name for record in queries.searches(url)]
    if not names:
        empty(url)
        return None
    return queries.snapshot(url, pick("search", names))


def another(url: str, name: str) -> Snapshot | None:
    """Let the reader pick a second search; None where there is no other."""
    names = [record.name for record in queries.searches(url) if record.name != name]
    if st.query_params.get(BESIDE) == name:  # the first one was just set to the second
        del st.query_params[BESIDE]
    return queries.snapshot(url, pick(BESIDE, names)) if names else None


def optimizer(snapshot: Snapshot) -> str:
    """Let the reader pick one of the search's optimizers, the best first."""
    return pick("optimizer", [row.optimizer for row in snapshot.comparison.rows])


def trial(snapshot: Snapshot, optimizer: str) -> TrialRecord | None:
    """Let the reader pick a trial by its number, which the address keeps."""
    trials = {trial.number: trial for trial in snapshot.trials[optimizer]}
    if not trials:
        return None
    number = st.number_input(
        "Trial",
        min_value=0,
        max_value=max(trials),
        step=1,
        key=TRIAL,
        bind="query-params",
    )
    return trials.get(int(number))


def pick(key: str, names: Sequence[str]) -> str:
    """Offer the names; remember the pick in the address and, for other pages, in the session.

    The widget gets its value as a default, in every run: what is written into its state is sent
    to the browser once, and lost where a refresh cuts that run short. It is not bound to the
    address either, since a bound value that is the default is left out there, and a link to the
    newest search would point elsewhere after the next one.
    """
    index = names.index(_asked(key, names))
    name = st.selectbox(key.capitalize(), names, index=index, key=key)
    st.session_state[KEPT + key] = name
    if st.query_params.get(key) != name:
        st.query_params[key] = name
    return name


def _asked(key: str, names: Sequence[str]) -> str:
    """Return what is picked here, or named by the address, or was picked on another page."""
    picked: str | None = st.session_state.get(key)
    if picked in names:
        return str(picked)
    address = st.query_params.get(key)
    if address is not None and address not in names:
        gone, here = words.plain(address), words.plain(names[0])
        st.warning(f"There is no {NOUNS.get(key, key)} {gone} here; this is {here}.")
        return names[0]
    elsewhere: str | None = st.session_state.get(KEPT + key)
    return next((name for name in (address, elsewhere) if name in names), None) or names[0]


def empty(url: str) -> None:
    """Say that nothing was searched yet, and how to begin."""
    st.info("No search yet. Run one, and it appears here while it works:")
    st.code(COMMAND, language="bash", wrap_lines=True)
    file = urls.file(url)
    st.caption("Database" if file is None or file.exists() else "Database, not there at present")
    st.text(urls.mask(url))
