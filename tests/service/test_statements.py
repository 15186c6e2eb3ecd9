"""What a call costs the database: round trips are what a worker waits for."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from sqlalchemy import event

from autotune.service import core
from autotune.testing.remote import BODY, lease, told


@pytest.fixture
def costs(begun):
    """Return what counts the statements and the transactions of a call."""
    engine = begun.app.state.service.store._database._engine
    seen = Counter()
    event.listen(engine, "before_cursor_execute", lambda *_: seen.update(["statements"]))
    event.listen(engine, "begin", lambda _: seen.update(["transactions"]))

    def costs(call):
        seen.clear()
        assert call().status_code == 200
        return seen["transactions"], seen["statements"]

    return costs


def test_each_call_of_a_worker_is_a_few_statements(begun, costs, monkeypatch):
    monkeypatch.setattr(core, "COUNTED_EVERY", 1e9)  # the search's time is stored now and then
    assert begun.put("/v1/searches/bowl", json=dict(BODY)).status_code == 200
    held = lease(begun, "first")  # the search was read
    assert begun.post(f"{held['url']}/beat").status_code == 200  # and its time stored
    ask = {"worker": "w", "request": "a"}
    transactions, statements = costs(lambda: begun.post("/v1/searches/bowl/leases", json=ask))
    assert transactions == 4  # what is held, the turn, the decision, the lease
    assert statements - transactions <= 16  # SQLite's BEGIN is one more for each transaction
    for point in told(held):
        report = {"points": [point]}
        call = partial(begun.post, f"{held['url']}/points", json=report)
        transactions, statements = costs(call)
        assert (transactions, statements - transactions <= 8) == (1, True)
    end = {"outcome": "reached"}
    transactions, statements = costs(lambda: begun.post(f"{held['url']}/end", json=end))
    assert (transactions, statements - transactions <= 7) == (1, True)
