"""Which search and optimizer a page shows: chosen here, remembered in the address."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from autotune.app import queries, words
from autotune.app.queries import Snapshot
from autotune.studies import urls

KEPT = "kept_"
COMMAND = "autotune search --model resnet-mini --trials 6"


def search(url: str) -> Snapshot | None:
    """Let the reader pick a search; None, with what to do said, when there is none."""
    names = [record.name for record in queries.searches(url)]
    if not names:
        empty(url)
        return None
    _start("search", names)
    name = st.selectbox(
        "Search",
        names,
        index=None,
        key="search",
        bind="query-params",
        persist_state="session",
    )
    return queries.snapshot(url, _keep("search", name or names[0]))


def optimizer(snapshot: Snapshot) -> str:
    """Let the reader pick one of the search's optimizers, the best first."""
    names = [row.optimizer for row in snapshot.comparison.rows]
    _start("optimizer", names)
    chosen = st.selectbox(
        "Optimizer",
        names,
        index=None,
        key="optimizer",
        bind="query-params",
        persist_state="session",
    )
    return _keep("optimizer", chosen or names[0])


def _start(key: str, names: Sequence[str]) -> None:
    """Show the first name when the address holds none; say so when it holds an unknown one.

    The widget itself has no default: Streamlit would leave that out of the address, and a link to
    the newest search would point elsewhere after the next one.
    """
    asked = st.session_state.get(key, st.query_params.get(key))
    if asked is None and st.session_state.get(KEPT + key) in names:
        st.session_state[key] = st.session_state[KEPT + key]
    elif asked not in names:
        if asked is not None:
            st.warning(
                f"There is no {key} {words.plain(asked)} here; this is {words.plain(names[0])}."
            )
        st.session_state[key] = names[0]


def _keep(key: str, name: str) -> str:
    """Remember the pick outside the widget.

    A page change that meets a refresh drops the widget's own state and the address alike.
    """
    st.session_state[KEPT + key] = name
    return name


def empty(url: str) -> None:
    """Say that nothing was searched yet, and how to begin."""
    st.info("No search yet. Run one, and it appears here while it works:")
    st.code(COMMAND, language="bash")
    st.caption("Database")
    st.text(urls.mask(url))
