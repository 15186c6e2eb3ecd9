"""Which trials go on at a rung when they cannot pause there, whatever promotes the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune.pruners.ladder import ladder
from autotune.scheduler.going_on import next_stop
from autotune.scheduler.policy import Policy
from autotune.scheduler.study_state import StudyState
from autotune.space.spaces import build
from autotune.studies.records import Point, Role, StudyRecord, TrialRecord, TrialState
from autotune.studies.spec import parse

SPACE = build({"lr": ("log", 1e-4, 1e-1)}, {"lr": 1e-3}, {})


def study(losses, **spec):
    """Return a study whose last trial runs and was measured at rung 3, as those before it were."""
    given = {"model": "m", "optimizers": ["adamw"], "budget": {"trials": 99}, **spec}
    state = StudyState(
        study=StudyRecord(id=1, search="m", optimizer="adamw", space={}),
        space=SPACE,
        presets=[],
        policy=Policy.of(parse(given)),
        ladder=ladder(27),
    )
    for number, loss in enumerate(losses):
        last = number == len(losses) - 1
        trial = TrialRecord(
            id=number,
            study=1,
            number=number,
            role=Role.SEARCH,
            origin="sobol",
            setting=SPACE.preset({"lr": 1e-3 * (number + 1)}, 0.1, "x").setting,
            seed=0,
            target=27,
            state=TrialState.RUNNING if last else TrialState.STOPPED,
            step=0 if last else 3,
            loss=None if last else loss,
            final=not last,
        )
        state.keep(trial, [Point(step=3, seconds=1.0, loss=loss)])
    return state


def stop(state, affordable=lambda cost, needed: True):
    return next_stop(state, state.of(Role.SEARCH)[-1], 3, affordable)


@pytest.mark.parametrize("pruner", ["auto", "asha", "none", "optuna:ThresholdPruner(upper=99)"])
@pytest.mark.parametrize("losses", [[3.0], [4.0, 3.0], [9.0, 8.0, 7.0, 6.0, 3.0]])
def test_the_best_at_a_rung_goes_on(pruner, losses):
    assert stop(study(losses, pruner=pruner)) == 9


@pytest.mark.parametrize(
    ("pruner", "losses"),
    [
        ("auto", [3.0, 4.0]),
        ("auto", [1.0, 2.0, 3.0, 4.0, 5.0, 3.5]),
        ("asha", [1.0, 2.0, 3.0, 4.0, 5.0, 3.5]),
        ("optuna:ThresholdPruner(upper=2)", [3.0]),
    ],
)
def test_who_is_not_among_the_best_is_over(pruner, losses):
    assert stop(study(losses, pruner=pruner)) is None


def test_the_third_that_goes_on_is_that_of_all_who_were_there():
    assert stop(study([1.0, 9.0, 8.0, 7.0, 6.0, 2.0])) == 9  # the second of six


def test_what_cannot_be_paid_does_not_go_on():
    asked = []

    def affordable(cost, needed):
        asked.append((round(27 * cost), needed > 1))
        return cost < 0.1 and not needed

    assert stop(study([3.0], budget={"runs": 30}), affordable) is None
    assert asked[0] == (6, True)


def test_a_last_trial_runs_to_its_end_where_finalists_are_missing():
    state = study([1.0, 4.0], budget={"trials": 2})
    assert stop(state) == 27
    for trial in state.of(Role.SEARCH)[:-1]:
        state.keep(replace(trial, state=TrialState.COMPLETE, step=27, loss=1.0))
    assert stop(state) == 27
    one = replace(state.of(Role.SEARCH)[0], id=7, number=-1)
    state.keep(one, [Point(step=3, seconds=1.0, loss=1.0)])
    assert stop(state) is None
