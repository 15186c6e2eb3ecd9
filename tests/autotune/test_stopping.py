"""Searches that end because nothing gets better: only where that is asked for."""

import pytest

from autotune.errors import SpecError
from autotune.pruners.ladder import ladder
from autotune.scheduler import stopping
from autotune.scheduler.policy import Policy
from autotune.scheduler.study_state import StudyState
from autotune.search.coordinator import run
from autotune.space.spaces import build
from autotune.studies.records import Point, Role, StudyRecord, TrialState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.testing.trials import search_trial

SPACE = build({"lr": ("log", 1e-4, 1e-1)}, {"lr": 1e-3, "weight_decay": 0.0}, {})


def study(*losses, running=0, **budget):
    """Return a study whose settings had these losses at the first rung."""
    record = StudyRecord(id=1, search="m", optimizer="adan", space={})
    state = StudyState(
        study=record, space=SPACE, presets=[], policy=Policy.of(spec(**budget)), ladder=ladder(27)
    )
    for number, loss in enumerate([*losses, *[None] * running]):
        trial = search_trial(
            number,
            id=number + 1,
            params={"lr": 1e-3},
            hyper={"n": number},
            target=27,
            state=TrialState.RUNNING if loss is None else TrialState.PAUSED,
            step=0 if loss is None else 9,
        )
        state.keep(trial, [] if loss is None else [Point(step=9, seconds=1.0, loss=loss)])
    return state


def spec(**budget):
    return parse({"model": "m", "budget": budget})


def test_patience_ends_where_that_many_settings_did_not_take_the_lead():
    assert stopping.reached(study(3.0, 1.0, 2.0, 2.0, 2.0, patience=3))
    assert not stopping.reached(study(3.0, 1.0, 2.0, 2.0, patience=3))
    assert not stopping.reached(study(3.0, 2.0, 2.5, 2.5, 1.0, patience=3))


def test_settings_that_still_run_have_not_failed_to_take_the_lead():
    assert not stopping.reached(study(1.0, 2.0, 2.0, running=3, patience=3))


def test_without_patience_a_search_spends_its_budget():
    assert not stopping.reached(study(1.0, *[2.0] * 500))


def test_patience_alone_keeps_the_budget_of_a_search_without_any():
    assert spec(patience=3).budget.resolved == spec(runs=20, patience=3).budget


@pytest.mark.parametrize(
    ("budget", "left"),
    [
        ({"trials": 9}, "5 of 9 settings"),
        ({"runs": 12}, "10.7 of 12 full runs"),
        ({"minutes": 10, "runs": 12}, "10.7 of 12 full runs and 4.0 of 10 minutes"),
    ],
    ids=["trials", "runs", "minutes"],
)
def test_who_gives_up_says_after_what_and_with_what_left(budget, left):
    found = stopping.why_stopped(study(1.0, 2.0, 2.0, 2.0, patience=3, **budget), 4.0)
    assert found == (f"stopped early: 3 settings in a row did not beat trial 0 ({left} left)")


def test_patience_below_one_is_refused():
    with pytest.raises(SpecError, match=r"^budget.patience must be at least 1, got 0$"):
        spec(patience=0)


def wanted(task_file, **budget):
    return parse(
        {
            "model": f"{task_file}:problem",
            "optimizers": ["adamw"],
            "budget": budget,
            "steps": 27,
            "engine": "inline",
        }
    )


def test_a_search_that_gave_up_says_so_judges_and_goes_on_with_more_patience(task_file, tmp_path):
    heard = []
    with Store(str(tmp_path / "autotune.db")) as store:
        run(wanted(task_file, trials=60, patience=6), store=store, listen=heard.append)
        (study,) = store.search("problem").studies
        tried = len(store.trials(study.id, Role.SEARCH))
        ended = store.recommendation(study.id)["ended"]
        again = run(wanted(task_file, trials=60, patience=6), store=store)
        kept = len(store.trials(study.id, Role.SEARCH))
        run(wanted(task_file, trials=60, patience=9), store=store)
        more = len(store.trials(study.id, Role.SEARCH))
    assert 6 < tried < 60
    assert ended.endswith(f"({60 - tried} of 60 settings left)")
    assert f"adamw: {ended}" in [event.text for event in heard if hasattr(event, "text")]
    assert again.rows[0].default.losses
    assert kept == tried
    assert more >= tried + 3
