"""Connections that drop, clocks that jump, and reports that come twice or too late."""

from __future__ import annotations

import gc
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, text

from autotune.engines.inline import Inline
from autotune.errors import Unavailable
from autotune.scheduler import stages
from autotune.search.asking import Asker
from autotune.search.coordinator import Loop, run
from autotune.search.events import Notice, TrialEnded
from autotune.search.lock import folder_of
from autotune.search.opening import checked, open_search
from autotune.studies import attempts
from autotune.studies.spec import parse
from autotune.studies.store import Store

DROP = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
)


def test_dropped_connections_are_made_again(
    server, spec, undisturbed, judge, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    engine = create_engine(server)

    def listen(event):
        if isinstance(event, TrialEnded):
            with engine.begin() as connection:
                connection.execute(DROP)

    with Store(server) as store:
        run(parse(spec), store=store, listen=listen)
        judge("dropped database connections", store, undisturbed)
    engine.dispose()


def persist(spec, store, listen):
    """Run a search as a person would: once more where it could not even begin."""
    while True:
        try:
            return run(parse(spec), store=store, listen=listen)
        except Unavailable:
            time.sleep(0.1)


# One that breaks while SQLAlchemy asks the server what it can do is left to be collected.
@pytest.mark.filterwarnings("ignore:<psycopg.Connection object at:ResourceWarning")
def test_a_database_that_restarts_is_waited_for(
    restartable, spec, undisturbed, judge, rounds, moments, troubles
):
    for _ in range(rounds):
        restartable.clear()
        heard = []

        def restart():
            time.sleep(moments())
            restartable.stop()
            time.sleep(moments() / 3)
            restartable.start()

        restarting = threading.Thread(target=restart)
        restarting.start()
        with Store(restartable.url) as store:
            persist(spec, store, heard.append)
            restarting.join()
            judge("restart of the database", store, undisturbed)
        assert [line for line in troubles(heard) if not line.endswith("; trying again")] == []
    gc.collect()  # here, where its warning is expected, and not in another test


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_jumps_changes_nothing(tmp_path, spec, undisturbed, judge, monkeypatch, hours):
    ended = []

    def now(connection):
        return datetime.now(UTC) + timedelta(hours=hours * (3 < len(ended) < 12))

    def listen(event):
        if isinstance(event, TrialEnded):
            ended.append(event)

    monkeypatch.setattr(attempts, "now", now)
    with Store(str(tmp_path / "autotune.db")) as store:
        run(parse(spec), store=store, listen=listen)
        judge(f"clock put {'ahead' if hours > 0 else 'back'} an hour", store, undisturbed)
        assert store.search("net").seconds < 60


class Echoing(Inline):
    """Tells everything twice, and everything it ever told once more at the end of each job."""

    def __init__(self):
        super().__init__()
        self.told = []

    def reports(self, timeout):
        new = super().reports(timeout)
        self.told += new
        return [*new, *new, *self.told[:-1]]


def test_reports_that_come_twice_or_late_count_once(tmp_path, spec, undisturbed, judge):
    url = f"sqlite:///{tmp_path}/autotune.db"
    with Store(url) as store:
        _loop(spec, store).run(Echoing())
        judge("duplicate and late reports", store, undisturbed)


class Robbed(Inline):
    """Loses its first trial to another process while it runs, twice."""

    def __init__(self, store):
        super().__init__()
        self.store, self.left = store, 2

    def submit(self, job):
        super().submit(job)
        if self.left:
            self.left -= 1
            self.store.lose(job.trial, job.attempt, "another took it")


def test_what_another_process_took_over_is_not_stored(tmp_path, spec, undisturbed, judge):
    heard = []
    with Store(f"sqlite:///{tmp_path}/autotune.db") as store:
        _loop(spec, store, heard.append).run(Robbed(store))
        judge("reports of lost leases", store, undisturbed)
    said = [event.text for event in heard if isinstance(event, Notice)]
    assert any("another worker took it over" in line for line in said)


def test_who_decides_too_slowly_decides_anew(tmp_path, spec, undisturbed, judge, monkeypatch):
    suggest, slow = stages.next_suggestion, iter([True, False, True, True])

    def hesitant(state, affordable):
        if next(slow, False):
            store.leave_turn(1, "search")  # as if the turn had ended
        return suggest(state, affordable)

    monkeypatch.setattr(stages, "next_suggestion", hesitant)
    with Store(f"sqlite:///{tmp_path}/autotune.db") as store:
        _loop(spec, store).run(Inline())
        judge("turns that end while deciding", store, undisturbed)


def _loop(spec, store, listen=lambda event: None):
    opened = open_search(checked(parse(spec), store), store)
    folder = folder_of(store.url, "net")
    return Loop(Asker(parse(spec), store, opened, listen, threading.Event(), folder))
