"""What pages keep in memory is ready before the first of them, and is not measured too often."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune.app import ahead, queries
from autotune.studies.records import SearchState
from autotune.studies.store import Store
from autotune.testing import sample


def test_the_newest_search_is_read_before_anybody_asks(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/autotune.db"
    sample.make(url, "net", landscapes={"adan": sample.OPTIMIZERS["adan"]})
    monkeypatch.setenv("AUTOTUNE_STORAGE", url)

    ahead.prepare()

    monkeypatch.setattr(Store, "trials", None)
    assert len(queries.snapshot(queries.storage(), "net").trials["adan"]) > 1


def test_a_database_that_is_not_there_yet_stops_no_server(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOTUNE_STORAGE", f"sqlite:///{tmp_path}/later.db")

    ahead.prepare()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("state", "long", "again"),
    [(SearchState.RUNNING, 1, 2), (SearchState.COMPLETE, 1, 3), (SearchState.RUNNING, 1000, 3)],
)
def test_importance_of_a_long_search_that_runs_is_measured_again_after_a_hundredth_of_its_steps(
    tmp_path, monkeypatch, state, long, again
):
    url = f"sqlite:///{tmp_path}/autotune.db"
    sample.make(url, "net", landscapes={"adan": sample.OPTIMIZERS["adan"]})
    found, measured = queries.snapshot(url, "net"), []
    monkeypatch.setattr(queries, "LONG", long)
    monkeypatch.setattr(queries, "matters", lambda *_, **__: measured.append(0) or len(measured))
    trials = found.trials["adan"]
    steps = sum(trial.step for trial in trials)

    for signature, more in (("a", 0), ("b", steps // 100 - 1), ("c", steps // 100)):
        one = replace(trials[0], step=trials[0].step + more)
        search = replace(found.search, state=state)
        now = replace(found, trials={"adan": (one, *trials[1:])}, search=search)
        queries.importance(url, replace(now, signature=signature), "adan")

    assert len(measured) == again
