"""Viewers stop, pause and continue a search: once it is confirmed, and where that is allowed."""

from __future__ import annotations

import os
import re

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from autotune.app import control, queries, serve, terms
from autotune.app.terms import Terms
from autotune.errors import SpecError, StorageError
from autotune.search import orders
from autotune.studies.records import Command, Proposal, Role, SearchState
from autotune.studies.store import Store
from autotune.testing import sample
from autotune.testing.trials import setting_of


@pytest.fixture
def running(tmp_path):
    """Make a database with a search that a worker runs."""
    url = f"sqlite:///{tmp_path}/running.db"
    with Store(url) as store:
        search = store.create_search("net", {}, dict(sample.TASK), {"adan": {}}, {})
        setting = setting_of(params={}, hyper={"lr": 1e-3})
        proposal = Proposal(role=Role.SEARCH, origin="sobol", setting=setting, seed=0, target=90)
        store.begin(store.add_trial(search.studies[0].id, proposal).id, "gpu7-0", stop=90)
    return url


@pytest.fixture
def allowed(monkeypatch):
    """Let viewers control searches."""
    monkeypatch.setattr(terms, "_agreed", [Terms(control=True)])


def _script():
    from autotune.app import control, queries

    url = queries.storage()
    control.draw(url, queries.snapshot(url, "net"))


@pytest.fixture
def drawn(running, monkeypatch):
    """Draw the orders of that search as its page does."""
    monkeypatch.setenv("AUTOTUNE_STORAGE", running)
    return lambda: AppTest.from_function(_script, default_timeout=30).run()


def offered(at):
    """Return the orders that a page offers."""
    return [button.label for button in at.button if button.key.startswith("order")]


def test_a_page_offers_no_order_unless_it_is_allowed(drawn):
    assert offered(drawn()) == []


def test_the_page_of_a_search_offers_orders(page, running, allowed):
    assert offered(page("overview", running)) == ["Pause", "Stop"]


def test_an_order_reaches_the_workers_once_it_is_confirmed(drawn, running, allowed):
    at = drawn()
    at.button(key="order stop").click().run()
    at.button(key="order no").click().run()
    refused = (offered(at), queries.told(running, "net"))
    at.button(key="order pause").click().run()
    asked = queries.told(running, "net")
    at.button(key="order yes").click().run()

    assert refused == (["Pause", "Stop"], Command.CONTINUE)
    assert (asked, queries.told(running, "net")) == (Command.CONTINUE, Command.PAUSE)
    assert at.info[0].value == control.TOLD[Command.PAUSE]
    assert offered(at) == ["Continue", "Stop"]


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (Command.STOP, []),
        (
            Command.PAUSE,
            [r"Not told to pause\: meanwhile somebody told the workers another thing\."],
        ),
    ],
)
def test_of_two_viewers_the_second_gives_the_same_order_or_none(
    drawn, running, allowed, order, said
):
    at = drawn()
    at.button(key=f"order {order}").click().run()
    orders.give(running, "net", Command.STOP)  # by the other one
    at.button(key="order yes").click().run()

    assert queries.told(running, "net") is Command.STOP
    assert [warning.value for warning in at.warning] == said


def test_a_database_that_refuses_is_said(allowed, monkeypatch):
    def refuse(*_, **__):
        raise StorageError("the role may only read")

    session = {control.ASK: ("net", Command.STOP, Command.CONTINUE)}
    monkeypatch.setattr(st, "session_state", session)
    monkeypatch.setattr(orders, "give", refuse)
    control._tell("sqlite:///unused.db")

    assert session == {control.SAID: "the role may only read"}


def test_a_file_that_may_only_be_read_offers_no_order(drawn, running, allowed, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)

    at = drawn()

    assert offered(at) == []
    assert any("cannot be written" in caption.value for caption in at.caption)


def test_an_order_is_news_to_other_viewers(running):
    before = queries.signature(running)
    orders.give(running, "net", Command.PAUSE)

    assert queries.signature(running) != before


@pytest.mark.parametrize(
    ("state", "told", "expected"),
    [
        (SearchState.RUNNING, Command.CONTINUE, (Command.PAUSE, Command.STOP)),
        (SearchState.RUNNING, Command.STOP, (Command.CONTINUE,)),
        (SearchState.INTERRUPTED, Command.CONTINUE, ()),
        (SearchState.INTERRUPTED, Command.PAUSE, (Command.CONTINUE, Command.STOP)),
        (SearchState.COMPLETE, Command.STOP, ()),
    ],
)
def test_only_orders_that_change_something_are_offered(state, told, expected):
    assert control.offered(state, told) == expected


def test_control_is_not_shown_to_other_machines():
    sentence = (
        "--allow-control needs a --host of 127.0.0.1, ::1, localhost, got 0.0.0.0: the dashboard "
        "asks nobody for a password; let a proxy that does show it to others"
    )
    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
        serve.serve("sqlite:///unused.db", "0.0.0.0", 0, False, allowed=Terms(control=True))


def test_control_is_not_given_to_pages_of_any_host(monkeypatch):
    monkeypatch.setenv("AUTOTUNE_ALLOWED_HOSTS", "*")
    sentence = (
        "--allow-control needs hosts by name in AUTOTUNE_ALLOWED_HOSTS, got '*': any web page "
        "that a viewer opens could stop searches"
    )
    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
        serve.serve("sqlite:///unused.db", "127.0.0.1", 0, False, allowed=Terms(control=True))
