"""Who is recommended after one lap, after two, and when it is too close to tell."""

import math

from autotune.pruners.ladder import ladder
from autotune.scheduler import racing
from autotune.scheduler.policy import Policy
from autotune.scheduler.study_state import StudyState
from autotune.space.spaces import build
from autotune.studies.records import Role, StudyRecord, TrialState
from autotune.studies.spec import parse
from autotune.testing.trials import search_trial

POLICY = Policy.of(parse({"model": "m", "optimizers": ["adamw"], "finalists": 2}))
DEFAULTS = {"lr": 1e-3, "weight_decay": 0.0}


def study(search, *laps):
    """A study whose default is trial 0; a loss of None is a trial that was cut short."""
    record = StudyRecord(id=1, search="m", optimizer="adamw", space={})
    state = StudyState(
        study=record, space=build({}, DEFAULTS, {}), presets=[], policy=POLICY, ladder=ladder(81)
    )
    for number, loss in enumerate(search):
        keep(state, Role.SEARCH, loss, None, 0, number)
    for seed, losses in zip(racing.SEEDS, laps, strict=False):
        for source, loss in losses.items():
            keep(state, Role.SELECT, loss, source, seed, None)
    return state


def keep(state, role, loss, source, seed, number):
    id = len(state.trials) + 1
    ended = TrialState.PAUSED if loss is None else TrialState.COMPLETE
    if loss == math.inf:
        ended, loss = TrialState.DIVERGED, None
    state.keep(
        search_trial(
            id if number is None else number,
            id=id,
            role=role,
            seed=seed,
            source=source,
            state=ended,
            step=9 if ended is TrialState.PAUSED else 81,
            loss=loss,
        )
    )


def numbers(trials):
    return [trial.number for trial in trials]


def test_everyone_runs_the_first_lap():
    state = study([None, 1.0, 1.1, 1.2])
    assert numbers(racing.missing(state, 0)) == [0, 1, 2]
    assert racing.chosen(state) is None


def test_one_that_is_clearly_ahead_runs_no_second_lap():
    state = study([None, 1.0, 1.5], {0: 2.0, 1: 1.0, 2: 1.5})
    assert racing.missing(state, 1) == []
    assert racing.chosen(state) == 1


def test_two_that_change_places_run_a_second_lap_without_the_default():
    state = study([None, 1.0, 1.1], {0: 2.0, 1: 1.1, 2: 1.0})
    assert numbers(racing.missing(state, 1)) == [1, 2]


def test_the_second_lap_decides_by_the_mean_over_all_that_both_ran():
    first = {0: 2.0, 1: 1.1, 2: 1.0}
    assert racing.chosen(study([None, 1.0, 1.1], first, {1: 1.2, 2: 1.0})) == 2
    assert racing.chosen(study([None, 1.0, 1.1], first, {1: 1.0, 2: 1.2})) == 1


def test_one_that_is_behind_by_less_than_two_standard_errors_runs_a_second_lap():
    # Behind by 0.1 and 0.5: the mean is one and a half times its standard error.
    state = study([None, 1.0, 1.1], {0: 5.0, 1: 1.0, 2: 1.5})
    assert numbers(racing.missing(state, 1)) == [1, 2]


def test_half_a_second_lap_decides_nothing():
    state = study([None, 1.0, 1.1], {0: 2.0, 1: 1.1, 2: 1.0}, {2: 9.0})
    assert racing.chosen(state) == 2
    assert numbers(racing.missing(state, 1)) == [1]


def test_a_default_that_leads_is_run_again_with_the_finalists():
    state = study([None, 1.0, 1.1], {0: 0.9, 1: 1.1, 2: 1.0})
    assert numbers(racing.missing(state, 1)) == [0, 1, 2]


def test_what_diverges_on_a_fresh_seed_is_out():
    state = study([None, 1.0, 1.1], {0: 2.0, 1: math.inf, 2: 1.5})
    assert racing.chosen(state) == 2
    assert racing.missing(state, 1) == []


def test_the_default_is_left_where_everything_diverged():
    state = study([None, 1.0, 1.1], dict.fromkeys((0, 1, 2), math.inf))
    assert racing.chosen(state) == 0


def test_a_setting_that_was_good_once_and_bad_once_is_not_chosen():
    state = study([None, 0.5, 1.0], {0: 2.0, 1: 3.0, 2: 1.0})
    assert racing.chosen(state) == 2
