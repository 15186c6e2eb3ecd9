"""Runs that are made short enough for the minutes, played on a simulated clock."""

from __future__ import annotations

import math

import pytest

from autotune.pruners.ladder import Ladder, ladder
from autotune.scheduler import fitting, racing, stages
from autotune.scheduler.fitting import Cost, Pay
from autotune.scheduler.policy import Policy
from autotune.studies.records import Role
from autotune.studies.spec import parse
from autotune.testing.minutes import SimulatedSearch

UNLIKE = {"o0": Cost(step=0.12), "o1": Cost(step=0.06), "o2": Cost(step=0.1)}
STARTING = 13.0  # seconds that are gone when the first trial begins: timing, and loading a sampler


def standard(steps: int) -> Ladder:
    return ladder(steps)


def late(steps: int) -> Ladder:
    """Return the rungs of a task whose losses rank settings late, as resnet50's."""
    return ladder(steps, round(0.6 * steps))


def pay(costs: dict[str, Cost], minutes: float, slots: int = 2, **budget: float) -> Pay:
    spec = {"model": "m", "optimizers": list(costs), "budget": {"minutes": minutes, **budget}}
    left = 60 * minutes - STARTING
    return Pay(policy=Policy.of(parse(spec)), costs=costs, slots=slots, left=left)


def alike(count: int, step: float, evaluation: float = 0.0, setup: float = 0.0) -> dict[str, Cost]:
    cost = Cost(step=step, evaluation=evaluation, setup=setup)
    return {f"o{place}": cost for place in range(count)}


def played(planned: Pay, rungs: Ladder, slower: float) -> SimulatedSearch:
    steps, costs = rungs.steps[-1], planned.costs
    cost = next(iter(costs.values()))
    search = SimulatedSearch(
        {name: slower * each.step * steps for name, each in costs.items()},
        planned.policy.budget.minutes or 0.0,
        slots=planned.slots,
        evaluation=slower * cost.evaluation,
        setup=slower * cost.setup,
        steps=steps,
        compare_from=rungs.first if len(rungs.steps) == 2 else 0,
        costs=costs,
    )
    search.now = STARTING
    return search.play()


def judged(search: SimulatedSearch) -> bool:
    """Return whether winner and default of every study ran on all judging seeds."""
    for state in search.states:
        runs = {(t.source, t.seed) for t in state.of(Role.JUDGE)}
        wanted = {(n, s) for n in {0, racing.chosen(state)} for s in (3, 4, 5)}
        if not wanted <= runs or not stages.complete(state):
            return False
    return True


@pytest.mark.parametrize("slower", [0.9, 1.1])
@pytest.mark.parametrize(
    ("costs", "minutes", "slots", "rungs", "shortest", "own"),
    [
        (alike(1, 0.35), 3, 2, late, 16, 64),
        (alike(3, 0.3, evaluation=2.0, setup=0.5), 10, 2, late, 16, 64),
        (alike(3, 1.4, evaluation=2.0), 20, 4, late, 16, 64),
        (alike(1, 0.9), 20, 4, standard, 27, 243),
        (alike(2, 0.25, evaluation=1.0), 7, 2, standard, 27, 243),
        (alike(4, 0.1), 10, 2, standard, 27, 243),
        (alike(4, 0.02, setup=0.1), 1, 3, standard, 27, 243),
        (UNLIKE, 5, 1, standard, 27, 243),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)  # fmt: skip
def test_runs_that_fit_end_with_a_verdict_on_eight_settings(
    costs, minutes, slots, rungs, shortest, own, slower
):
    planned = pay(costs, minutes, slots)
    steps = planned.steps(rungs, shortest, own)
    assert steps is not None
    assert steps < own
    search = played(planned, rungs(steps), slower)
    assert judged(search)
    assert search.now <= 60 * minutes
    assert min(len(state.of(Role.SEARCH)) for state in search.states) >= fitting.LEAST


def test_a_search_whose_own_length_is_paid_keeps_it():
    assert pay(alike(3, 0.01), 7).steps(standard, 27, 243) == 243
    assert pay(alike(3, 0.24), 7).steps(standard, 27, 243) != 243


def test_the_longest_run_that_can_be_paid_is_taken():
    planned = pay(alike(3, 0.3), 7)
    steps = planned.steps(late, 8, 64)
    assert planned.needed(late(steps)) <= planned.left < planned.needed(late(steps + 1))


def test_minutes_that_are_called_enough_for_the_shortest_runs_are():
    short = pay(alike(3, 2.0), 5)
    assert short.steps(late, 24, 64) is None
    enough = math.ceil((short.needed(late(24)) + STARTING) / 60)
    planned = pay(alike(3, 2.0), enough)
    assert planned.steps(late, 24, 64) >= 24
    assert judged(played(planned, late(24), 1.1))


@pytest.mark.parametrize(
    ("budget", "least"), [({}, 8), ({"trials": 3}, 3), ({"runs": 12.0}, 3), ({"runs": 90.0}, 8)]
)
def test_no_more_settings_are_asked_for_than_the_other_limits_allow(budget, least):
    assert pay(alike(2, 0.1), 5, **budget).least(late(64)) == least


def test_a_setting_takes_its_first_rung_and_the_finalists_go_on_to_the_end():
    policy = pay(alike(1, 0.1), 5).policy
    work = fitting.searching(policy, late(60), 4)
    assert work.steps == 4 * 36 + 2 * 24
    assert (work.evaluations, work.jobs) == (6, 6)
    assert fitting.finals(policy, late(60)).steps == 9 * 60


def test_the_first_job_of_a_search_is_as_long_as_was_timed():
    search = SimulatedSearch({"adan": 10.0}, 5.0, costs={"adan": Cost(step=10 / 270)})
    state = search.states[0]
    assert search.tracker.pace(state) == pytest.approx(10 + fitting.DECIDING)
    assert SimulatedSearch({"adan": 10.0}, 5.0).tracker.pace(state) is None
