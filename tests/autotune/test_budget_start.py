"""Minutes, and what happens only once: start-up, compilation, the end of a search."""

from __future__ import annotations

from itertools import pairwise

import pytest

from autotune.scheduler import racing, stages
from autotune.scheduler.pace import Pace
from autotune.search.overhead import Overhead
from autotune.studies.records import Role, TrialState
from autotune.testing.minutes import SimulatedSearch

PAIR = {"adan": 3.0, "adamw": 2.5}


def tried(search: SimulatedSearch) -> list[int]:
    return [len(state.of(Role.SEARCH)) for state in search.states]


def judged(search: SimulatedSearch) -> bool:
    """Return whether winner and default of every study ran on all judging seeds."""
    for state in search.states:
        runs = {(t.source, t.seed) for t in state.of(Role.JUDGE)}
        wanted = {(n, s) for n in {0, racing.chosen(state)} for s in (3, 4, 5)}
        if not wanted <= runs or not stages.complete(state):
            return False
    return True


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize(
    "machine",
    [
        {"loading": 8.0},
        {"start": 8.0},
        {"start": 3.0, "spawning": 3.0, "loading": 3.0, "evaluation": 0.1, "setup": 0.2},
    ],
    ids=["slow import", "first trial compiles", "everything"],
)
def test_minutes_that_are_raised_find_about_as_much_as_so_many_at_once(machine, slots):
    raised = SimulatedSearch(PAIR, 1.0, slots=slots, **machine).play()
    few = tried(raised)
    raised.sit(3.0)
    raised.play()
    fresh = SimulatedSearch(PAIR, 3.0, slots=slots, **machine).play()
    assert judged(raised)
    assert raised.now <= 180
    assert all(after > before for after, before in zip(tried(raised), few, strict=True))
    # What the first sitting spent on selecting and judging is not there to search with.
    assert all(a > 0.4 * b for a, b in zip(tried(raised), tried(fresh), strict=True))


def test_minutes_that_are_raised_twice_are_searched_twice():
    search = SimulatedSearch(PAIR, 1.0, slots=2, loading=8.0, start=4.0).play()
    counts = [tried(search)]
    for minutes in (2.0, 4.0):
        search.sit(minutes)
        counts.append(tried(search.play()))
        assert judged(search)
        assert search.now <= 60 * minutes
    for before, after in pairwise(counts):
        assert all(b > a + 9 for a, b in zip(before, after, strict=True))


def test_a_slow_start_is_not_taken_for_a_part_of_every_run():
    search = SimulatedSearch({"adan": 2.0}, 3.0, start=30.0, loading=20.0)
    search.play(until=lambda: len(search.states[0].of(Role.SEARCH)) > 3)
    assert search.tracker.pace(search.states[0]) == pytest.approx(2.0, rel=0.1)
    assert sum(tried(search.play())) > 20


def test_a_machine_that_becomes_slower_is_noticed_within_two_runs():
    search = SimulatedSearch(PAIR, 1.0, slots=2).play()
    search.seconds = {name: 3 * seconds for name, seconds in PAIR.items()}
    search.sit(6.0)
    search.play()
    assert search.now <= 360
    assert judged(search)


def test_a_search_that_ended_for_want_of_time_goes_on_when_there_is_time():
    search = SimulatedSearch({"adan": 12.0, "adamw": 12.0}, 6.0)
    search.play(until=lambda: all(state.searched for state in search.states))
    before = tried(search)
    search.seconds = {"adan": 2.0, "adamw": 2.0}  # the neighbours on this machine went home
    search.play()
    assert search.reopened
    assert all(after > count + 3 for after, count in zip(tried(search), before, strict=True))
    assert judged(search)
    assert search.now <= 360


def test_what_was_judged_does_not_say_what_is_tried_next():
    """The same search with other losses on its judging seeds tries the same settings."""
    found = []
    for bonus in (0.0, -5.0):
        search = SimulatedSearch(PAIR, 1.0, slots=2)
        plain = search.loss

        def loss(trial, step, plain=plain, bonus=bonus):
            favoured = trial.role is Role.JUDGE and trial.source
            return plain(trial, step) + (bonus if favoured else 0.0)

        search.loss = loss
        search.play()
        search.sit(3.0)
        search.play()
        found.append([[t.setting for t in state.of(Role.SEARCH)] for state in search.states])
    assert found[0] == found[1]


def test_a_new_winner_has_all_its_judging_to_come():
    search = SimulatedSearch(PAIR, 1.0, slots=2).play()
    state = search.states[0]
    winner = racing.chosen(state)
    assert winner
    assert stages.outstanding(state) == 0
    search.sit(3.0)
    seeds, finalists = state.policy.seeds, state.policy.finalists
    assert stages.outstanding(state) >= seeds + finalists
    assert stages.stage(state) is Role.SEARCH
    done = state.trials[winner]
    state.keep(type(done)(**{**vars(done), "state": TrialState.DIVERGED}))
    state.searched = True
    assert racing.chosen(state) != winner
    assert stages.outstanding(state) >= seeds
    assert stages.rounds(state) == 0


@pytest.mark.parametrize("runs", [20, 25])
def test_full_runs_that_are_raised_are_searched_with_and_never_overshot(runs):
    search = SimulatedSearch(PAIR, 60.0, budget={"runs": 12}).play()
    before = tried(search)
    search.spec["budget"] = {"runs": runs}
    search.sit(60.0)
    search.play()
    assert all(after > count for after, count in zip(tried(search), before, strict=True))
    assert all(state.committed() <= runs + 1e-9 for state in search.states)
    assert judged(search)


def test_a_pace_leaves_out_compilation_and_keeps_evaluations_apart():
    pace = Pace()
    pace.add(30.0, 5, evaluated=False)  # compiled
    for _ in range(6):
        pace.add(0.5, 5, evaluated=False)
    pace.add(20.1, 1, evaluated=True)  # compiled
    pace.add(2.1, 1, evaluated=True)
    pace.add(2.1, 1, evaluated=True)
    assert pace.run(steps=100, evaluations=4) == pytest.approx(100 * 0.1 + 4 * 2.0)
    assert Pace().run(steps=100, evaluations=4) is None


def test_a_pace_of_another_machine_is_forgotten():
    pace = Pace()
    for seconds in [0.1] * 64 + [0.4] * 64:
        pace.add(seconds, 1, evaluated=False)
    assert pace.run(steps=10, evaluations=0) == pytest.approx(4.0)


def test_a_pace_measured_only_with_evaluations_is_that_of_its_steps():
    pace = Pace()
    pace.add(2.0, 10, evaluated=True)
    assert pace.run(steps=100, evaluations=4) == pytest.approx(20.0)


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self):
        return self.now


def job(overhead, clock, *, deciding, waiting=0.0, training=5.0):
    with overhead.counted():
        clock.now += deciding
    overhead.began(1)
    clock.now += waiting + training
    overhead.ended(1, training)


def test_deciding_and_waiting_count_by_the_job_and_without_each_slots_first():
    clock = Clock()
    overhead = Overhead(2, clock)
    job(overhead, clock, deciding=56.0, waiting=9.0)
    job(overhead, clock, deciding=1.0, waiting=9.0)
    assert overhead.per_job() == 0.0
    for waiting in (0.0, 0.2, 0.1):
        job(overhead, clock, deciding=0.2, waiting=waiting)
    assert overhead.per_job() == pytest.approx(0.3)


def test_what_is_decided_while_a_job_runs_is_not_counted_twice():
    clock = Clock()
    overhead = Overhead(1, clock)
    for _ in range(3):
        overhead.began(1)
        with overhead.counted():
            clock.now += 0.5
        clock.now += 2.0
        overhead.ended(1, 2.0)
    assert overhead.per_job() == pytest.approx(0.5)
