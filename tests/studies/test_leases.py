"""Who runs a trial, who decides, and what becomes of a worker that is not heard of again."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import create_engine, update

from autotune.studies import attempts
from autotune.studies.errors import LeaseLost, NotFound, SpecError, Unavailable
from autotune.studies.models import Attempt
from autotune.studies.records import Command, Point, TrialState
from autotune.studies.retry import Retry, retried


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request):
    return request.param


@pytest.fixture
def lapse(url):
    """Let so many seconds pass since every sign of life."""

    def pass_by(seconds):
        engine = create_engine(url)
        with engine.begin() as connection:
            for row in connection.execute(Attempt.__table__.select()).all():
                moved = {
                    "heartbeat": row.heartbeat - timedelta(seconds=seconds),
                    "expires": row.expires - timedelta(seconds=seconds),
                }
                connection.execute(update(Attempt).where(Attempt.id == row.id).values(moved))
        engine.dispose()

    return pass_by


@pytest.fixture
def begun(store, search, proposal):
    def make(worker="w1", step=0):
        trial = store.add_trial(1, proposal())
        if step:
            first = store.begin(trial.id, worker)
            store.record(
                trial.id, first, state=TrialState.PAUSED, step=step,
                points=[Point(step=step, seconds=1.0, loss=2.0)], checkpoint=("a.pt", "0" * 64),
            )  # fmt: skip
        return trial.id, store.begin(trial.id, worker, stop=90)

    return make


def test_a_live_workers_trial_is_not_reaped(store, begun):
    begun()
    assert store.reap(1) == []


def test_a_dead_workers_trial_goes_back_to_where_it_was_saved(store, begun, lapse):
    trial, attempt = begun(step=30)
    store.add_points(trial, attempt, [Point(step=60, seconds=2.0, loss=1.0)])
    lapse(100)
    assert store.reap(1) == [trial]
    found = store.trial(trial)
    assert (found.state, found.step, found.checkpoint) == (TrialState.PAUSED, 30, "a.pt")
    assert [point.step for point in store.curve(trial)] == [30]


def test_a_dead_workers_trial_without_a_step_waits_again(store, begun, lapse):
    trial, _ = begun()
    lapse(100)
    store.reap(1)
    assert store.trial(trial).state is TrialState.WAITING


def test_a_worker_that_falls_silent_after_a_sign_of_life_is_dead_too(store, begun, lapse):
    trial, attempt = begun()
    store.beat(1, "w1", {trial: attempt})
    lapse(59)
    assert store.reap(1) == []
    lapse(2)
    assert store.reap(1) == [trial]


def test_a_trial_is_reaped_once(store, begun, lapse):
    begun()
    lapse(100)
    assert (len(store.reap(1)), store.reap(1)) == (1, [])


def test_a_trial_that_lost_three_workers_in_a_row_is_given_up(store, begun, lapse):
    trial, _ = begun()
    for worker in ("w2", "w3", None):
        lapse(100)
        store.reap(1)
        if worker:
            store.begin(trial, worker)
    found = store.trial(trial)
    assert found.state is TrialState.FAILED
    assert found.reason == "given up after 3 tries: worker w3 was not heard of again"


def test_a_trial_is_not_blamed_for_commands_that_were_killed(store, begun):
    trial, _ = begun(worker="search")
    for _ in range(5):
        store.reap(1, worker="search", blame=False)
        store.begin(trial, "search")
    store.reap(1, worker="search", blame=False)
    assert store.trial(trial).state is TrialState.WAITING


def test_progress_between_losses_starts_the_count_anew(store, begun, lapse):
    trial, attempt = begun()
    for _ in range(2):
        store.lose(trial, attempt, "gone")
        attempt = store.begin(trial, "w2")
    store.record(trial, attempt, state=TrialState.PAUSED, step=9)
    store.begin(trial, "w2")
    lapse(100)
    store.reap(1)
    assert store.trial(trial).state is TrialState.PAUSED


def test_a_report_after_the_reaper_came_is_refused_and_changes_nothing(store, begun, lapse):
    trial, attempt = begun()
    lapse(100)
    store.reap(1)
    before = store.trial(trial)
    sentence = f"attempt 1 at trial {trial} is over; its report was not stored"
    with pytest.raises(LeaseLost, match=f"^{sentence}$"):
        store.record(trial, attempt, state=TrialState.COMPLETE, step=90, loss=0.1)
    assert store.trial(trial) == before


def test_an_expired_lease_that_nobody_took_may_be_renewed(store, begun, lapse):
    trial, attempt = begun()
    lapse(100)
    assert store.beat(1, "w1", {trial: attempt}).lost == frozenset()
    assert store.reap(1) == []


def test_a_sign_of_life_tells_what_was_lost(store, begun):
    kept, taken = begun(), begun()
    store.begin(taken[0], "w2")
    assert store.beat(1, "w1", dict([kept, taken])).lost == {taken[0]}


def test_a_command_to_an_unknown_search_names_those_there_are(store, search):
    with pytest.raises(NotFound, match=r"^no search 'nte' in .*did you mean 'net'"):
        store.tell("nte", Command.STOP)


def test_a_turn_is_used_up_by_beginning(store, search, proposal):
    store.take_turn(1, "w1")
    store.begin_new(1, proposal(), "w1", stop=30, turn="w1")
    assert store.take_turn(1, "w2")


def test_who_lost_its_turn_begins_nothing(store, search, proposal):
    store.take_turn(1, "w2")
    sentence = "the turn of w1 was over before it had decided"
    with pytest.raises(LeaseLost, match=f"^{re.escape(sentence)}$"):
        store.begin_new(1, proposal(), "w1", stop=30, turn="w1")
    assert store.trials(1) == []


def test_a_turn_that_another_took_cannot_be_kept(store, search):
    store.take_turn(1, "w1")
    store.keep_turn(1, "w1")
    store.leave_turn(1, "w1")
    store.take_turn(1, "w2")
    sentence = "the turn of w1 was over before it had decided"
    with pytest.raises(LeaseLost, match=f"^{sentence}$"):
        store.keep_turn(1, "w1")


def test_changes_hold_everything_at_first(store, search, begun):
    trials = {begun()[0], begun()[0]}
    assert {trial.id for trial in store.changes(1).trials} == trials


def test_time_that_two_processes_spent_together_counts_once(store, search):
    store.tick(1, 10.0)
    assert store.tick(1, 10.0) == pytest.approx(10.0, abs=0.5)


def test_time_while_nobody_was_there_does_not_count(store, search):
    store.tick(1, 0.0)
    assert store.tick(1, 0.001) <= 0.001


def test_a_clock_that_was_put_back_does_not_keep_a_dead_worker_alive(store, begun, lapse):
    begun()
    lapse(-3600)
    assert store.reap(1) == []
    lapse(100)
    assert len(store.reap(1)) == 1


def test_a_clock_that_jumps_ahead_loses_no_live_worker_that_is_heard_first(store, begun, lapse):
    trial, attempt = begun()
    lapse(3600)
    store.beat(1, "w1", {trial: attempt})
    assert store.reap(1) == []


def test_trials_that_run_are_not_stopped(store, begun):
    trial, _ = begun()
    store.stop_trials(1, {trial: "the search ended"})
    assert store.trial(trial).state is TrialState.RUNNING


def test_a_trial_that_ended_has_no_checkpoint(store, begun):
    trial, attempt = begun(step=30)
    store.record(trial, attempt, state=TrialState.COMPLETE, step=90)
    assert store.trial(trial).checkpoint is None


def test_the_length_of_a_lease_may_be_set(monkeypatch):
    monkeypatch.setenv("AUTOTUNE_LEASE", "2.5")
    assert attempts.lease() == timedelta(seconds=2.5)


@pytest.mark.parametrize("given", ["soon", "0", "nan"])
def test_a_lease_that_is_no_number_of_seconds_is_refused(monkeypatch, given):
    monkeypatch.setenv("AUTOTUNE_LEASE", given)
    sentence = f"AUTOTUNE_LEASE must be seconds from 0.1 to 86400, got {given!r}"
    with pytest.raises(SpecError, match=f"^{re.escape(sentence)}$"):
        attempts.lease()


class Away:
    """Something that is away for its first few calls."""

    def __init__(self, times, retry):
        self.times, self.retry, self.calls = times, retry, 0

    @retried
    def ask(self):
        self.calls += 1
        if self.calls <= self.times:
            raise Unavailable("it is away")
        return "here"


def test_nothing_is_tried_twice_without_patience():
    with pytest.raises(Unavailable, match=r"^it is away$"):
        Away(1, Retry()).ask()


def test_with_patience_it_is_tried_until_it_is_there():
    told = []
    retry = Retry(seconds=60, wait=lambda seconds, why: told.append((seconds, why)))
    assert Away(3, retry).ask() == "here"
    assert [why for _, why in told] == ["it is away"] * 3


def test_who_waits_may_give_up():
    away = Away(3, Retry(seconds=60, wait=lambda seconds, why: True))
    with pytest.raises(Unavailable, match=r"^it is away$"):
        away.ask()
    assert away.calls == 1


@pytest.mark.parametrize(
    ("seen", "told", "now"),
    [
        (Command.CONTINUE, True, Command.STOP),
        (Command.PAUSE, False, Command.CONTINUE),
        (None, True, Command.STOP),
    ],
)
def test_a_command_is_left_only_where_nobody_left_another_since(store, search, seen, told, now):
    assert store.tell("net", Command.STOP, seen=seen) is told
    assert store.beat(1, "w1", {}).command is now


def test_the_same_command_of_two_people_is_left_by_both(store, search):
    assert [store.tell("net", Command.STOP, seen=Command.CONTINUE) for _ in range(2)] == [True] * 2
