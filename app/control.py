"""Stop, pause and continue a search from its page, where whoever serves the page allows it."""

from __future__ import annotations

import os

import streamlit as st

from autotune.app import queries, terms, words
from autotune.app.kept import Snapshot
from autotune.errors import AutotuneError
from autotune.search import orders
from autotune.search.stored import resume_command
from autotune.studies import urls
from autotune.studies.records import Command, SearchState
from autotune.studies.spec import ASKED

ASK, SAID = "asked_order", "said_of_order"  # in the session
TOLD = {
    Command.PAUSE: "Its workers are told to pause: they save their trials and wait.",
    Command.STOP: "Its workers are told to stop: they save their trials and leave.",
}
MEANS = {
    Command.CONTINUE: "Workers that wait go on, and others may join.",
    Command.PAUSE: "Its workers save their trials and wait, within about 15 seconds.",
    Command.STOP: "Its workers save their trials and leave, within about 15 seconds.",
}


def offered(state: SearchState, told: Command) -> tuple[Command, ...]:
    """Return the orders that would change something.

    Args:
        state: The search's.
        told: What its workers are told now.
    """
    if state is SearchState.COMPLETE:
        return ()
    if told is not Command.CONTINUE:
        return (Command.CONTINUE,) if told is Command.STOP else (Command.CONTINUE, Command.STOP)
    return (Command.PAUSE, Command.STOP) if state is SearchState.RUNNING else ()


def writable(url: str) -> bool:
    """Return whether this process may write the database; a server says so only when asked."""
    file = urls.file(url)
    return file is None or (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))


def draw(url: str, snapshot: Snapshot) -> None:
    """Say what the workers of a search are told, and let the viewer tell them another thing."""
    search, told = snapshot.search, queries.told(url, snapshot.search.name)
    if search.state is SearchState.COMPLETE:
        return
    if told in TOLD:
        st.info(TOLD[told])
    if search.state is SearchState.INTERRUPTED and search.spec.get("engine") != ASKED:
        st.caption("No process runs it at this moment; from a terminal it goes on with:")
        st.code(resume_command(search.name, url), language="bash", wrap_lines=True)
    if text := st.session_state.pop(SAID, None):
        st.warning(words.plain(text))
    if not terms.agreed().control:
        return
    if not writable(url):
        st.caption("The database cannot be written from here, so nothing can be told to workers.")
        return
    _buttons(snapshot, told)
    _confirmation(url, snapshot)


def _buttons(snapshot: Snapshot, told: Command) -> None:
    name = snapshot.search.name
    with st.container(horizontal=True):
        for order in offered(snapshot.search.state, told):
            st.button(
                order.value.capitalize(),
                key=f"order {order}",
                on_click=_ask,
                args=(name, order, told),
            )


def _ask(name: str, order: Command, told: Command) -> None:
    st.session_state[ASK] = (name, order, told)


def _confirmation(url: str, snapshot: Snapshot) -> None:
    """Ask once more; not in a dialog, which the next refresh of a live page would close."""
    asked = st.session_state.get(ASK)
    if asked is None or asked[0] != snapshot.search.name:
        return
    name, order, _ = asked
    with st.container(border=True):
        st.markdown(f"**{order.value.capitalize()} {words.plain(name)}?** {MEANS[order]}")
        with st.container(horizontal=True):
            yes = f"Yes, {order.value} it"
            st.button(yes, key="order yes", type="primary", on_click=_tell, args=(url,))
            st.button("No", key="order no", on_click=st.session_state.pop, args=(ASK, None))


def _tell(url: str) -> None:
    """Tell the workers what was confirmed, unless another viewer has told them a third thing."""
    name, order, seen = st.session_state.pop(ASK)
    if not terms.agreed().control:
        return
    try:
        given = orders.give(url, name, order, seen=seen)
    except AutotuneError as error:
        st.session_state[SAID] = str(error)
        return
    if not given:
        st.session_state[SAID] = (
            f"Not told to {order.value}: meanwhile somebody told the workers another thing."
        )
