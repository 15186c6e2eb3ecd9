"""Searches of several optimizers are alike, or no difference is claimed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune.pruners.ladder import ladder
from autotune.scheduler import stages
from autotune.scheduler.fairness import Effort, effort, longest, slack
from autotune.studies.records import Role, TrialState
from autotune.testing.minutes import SimulatedSearch
from autotune.testing.trials import search_trial

ALIKE = {"adan": 3.0, "adamw": 3.0}
APART = {"adan": 1.0, "adamw": 10.0}
THREE = {"adan": 6.0, "adamw": 5.0, "lamb": 7.0}
FOUR = {"adan": 0.5, "adamw": 5.0, "lamb": 2.0, "sgd": 1.0}


def spent(search: SimulatedSearch) -> list[float]:
    return [state.committed(Role.SEARCH) for state in search.states]


@pytest.mark.parametrize("slots", [1, 2, 4])
@pytest.mark.parametrize("runs", [ALIKE, APART, THREE, FOUR], ids=["two", "tenfold", "3", "four"])
@pytest.mark.parametrize("full", [12, 18])
def test_minutes_are_searched_alike_and_judged(runs, slots, full):
    minutes = max(sum(runs.values()) * full * 1.1 / slots, max(runs.values()) * 12) / 60
    machine = {"start": 1.0, "spawning": 1.0, "loading": 1.0, "setup": 0.05}
    search = SimulatedSearch(runs, minutes, slots=slots, **machine).play()
    most, least = max(spent(search)), min(spent(search))
    assert most - least <= slack(most, longest(ladder(270)))
    tried = [len(state.of(Role.SEARCH)) for state in search.states]
    assert max(tried) <= 1.4 * min(tried)
    assert all(stages.complete(state) for state in search.states)
    assert search.now <= 60 * minutes


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("runs", [APART, FOUR], ids=["two", "four"])
def test_at_no_moment_is_a_search_more_than_a_job_ahead(runs, slots):
    search = SimulatedSearch(runs, sum(runs.values()) * 18 / slots / 60, slots=slots)
    apart = []

    def look():
        if not any(state.searched for state in search.states):
            apart.append(max(spent(search)) - min(spent(search)))
        return False

    search.play(until=look)
    assert len(apart) > 10
    assert max(apart) <= 1.0 + 1e-9


def test_more_seeds_are_judged_only_where_no_setting_could_be_tried():
    search = SimulatedSearch({"mlp": 2.0}, 1.0, slots=2)
    seeds = search.states[0].policy.seeds

    def look():
        extra = len(search.states[0].of(Role.JUDGE)) > 2 * seeds
        assert not (extra and search.tracker.reopens())
        return False

    search.play(until=look)
    assert len(search.states[0].of(Role.SEARCH)) > 20


def test_a_rung_is_allowed_where_it_is_more_than_a_tenth():
    assert slack(2.0, 2 / 3) == pytest.approx(2 / 3)
    assert slack(20.0, 2 / 3) == pytest.approx(2.0)
    assert longest(ladder(270)) == pytest.approx(2 / 3)
    assert longest(ladder(270, compare_from=160)) == pytest.approx(160 / 270)


def test_a_search_counts_what_went_wrong_as_the_budget_does():
    trials = [
        search_trial(0, target=81, step=81, state=TrialState.COMPLETE),
        search_trial(1, target=81, step=1, state=TrialState.DIVERGED),
        search_trial(2, target=81, step=81, role=Role.JUDGE, state=TrialState.COMPLETE),
    ]
    assert effort(trials, {}, {"minutes": 7}).runs == pytest.approx(1 + 3 / 81)
    assert effort(trials, {}, {"trials": 2}).runs == pytest.approx(1 + 9 / 81)
    assert str(effort(trials, {}, {})) == "2 settings in 1.04 full runs"
    assert effort([], {}, {}) == Effort()


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (Effort(settings=14, runs=4.2), Effort(settings=3, runs=1.1), False),
        (Effort(settings=14, runs=2.0, rung=2 / 3), Effort(settings=9, runs=1.4, rung=2 / 3), True),
        (Effort(settings=90, runs=20.0), Effort(settings=60, runs=18.1), True),
        (Effort(settings=90, runs=20.0), Effort(settings=90, runs=17.0), False),
        (
            Effort(settings=9, runs=4.0, counted=True),
            Effort(settings=9, runs=2.0, counted=True),
            True,
        ),
        (
            Effort(settings=9, runs=4.0, counted=True),
            Effort(settings=5, runs=2.0, counted=True),
            False,
        ),
    ],
)
def test_searches_are_alike_within_a_tenth_a_rung_or_by_their_settings(one, other, alike):
    assert one.like(other) is alike
    assert other.like(one) is alike


def test_who_waited_for_a_search_that_is_over_is_asked_before_all_is_over():
    """The one that waits may come first in the order, which counts its finals too."""
    machine = {"start": 1.0, "spawning": 1.0, "loading": 1.0, "setup": 0.05}
    search = SimulatedSearch(ALIKE, 85.8 / 60, **machine).play()
    second, first = sorted(search.states, key=lambda state: state.committed(Role.SEARCH))
    for extra in range(3):
        run = replace(second.of(Role.JUDGE)[0], id=-extra - 1, number=900 + extra, source=-1)
        second.keep(run)
    assert first.committed(Role.SEARCH) > second.committed(Role.SEARCH)
    assert first.committed() < second.committed()
    search.sit(85.8 / 60)
    search.play()
    assert first.searched
    assert all(stages.complete(state) for state in search.states)
