"""Ranges whose end holds the best settings, and what becomes of them."""

import math
from dataclasses import replace

import pytest

from autotune.bench.search.grid import levels
from autotune.pruners.ladder import ladder
from autotune.scheduler import widening
from autotune.scheduler.policy import Policy
from autotune.scheduler.study_state import StudyState
from autotune.search.coordinator import run
from autotune.space.spaces import Range, build, from_data
from autotune.studies.records import Point, Role, StudyRecord, TrialState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.testing.trials import search_trial

DATA = {
    "lr": ("log", 1e-4, 1e-1),
    "timescale": ("log", 10.0, 1e4),
    "decayed": ("choice", ("yes", "no")),
    "one_minus_beta1": ("log", 0.01, 0.5),
    "warmup": ("linear", 0.0, 0.5),
}
DEFAULTS = {"lr": 1e-3, "weight_decay": 0.01, "betas": (0.9,)}
MIDDLE = {
    "lr": 3e-3,
    "timescale": 300.0,
    "decayed": "yes",
    "one_minus_beta1": 0.07,
    "warmup": 0.2,
}
EDGE_TASK = """
import torch
from autotune import Problem


class Far(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.full((4,), 30.0))


def problem(seed):
    return Problem(
        model=Far(),
        train=[(torch.zeros(1),)] * 8,
        validation=[(torch.zeros(1),)],
        loss=lambda model, batch: (model.weights**2).mean(),
    )
"""


def study(*params, overrides=None):
    """Return a study whose settings were tried with ever larger losses."""
    space = build(DATA, DEFAULTS, overrides or {})
    record = StudyRecord(id=1, search="m", optimizer="adan", space={})
    state = StudyState(
        study=record,
        space=space,
        presets=[],
        policy=Policy.of(parse({"model": "m"})),
        ladder=ladder(27),
    )
    for number, changes in enumerate(params):
        trial = search_trial(
            number,
            id=number + 1,
            params={**MIDDLE, **changes},
            hyper={"n": number},
            target=27,
            state=TrialState.PAUSED,
            step=9,
        )
        state.keep(trial, [Point(step=9, seconds=1.0, loss=float(number))])
    return state


def at(trial, **params):
    return replace(trial, setting=replace(trial.setting, params=params))


HIGH = [{"lr": 0.09}, {"lr": 0.08}, {"lr": 0.1}]
REST = [{}] * 6


def test_a_range_is_widened_at_the_end_where_the_best_three_lie():
    found = widening.widened(study(*HIGH, *REST))
    new = found.space.parameters["lr"]
    assert (new.low, new.high) == (1e-4, pytest.approx(0.1 * 10**0.75))
    assert new.began == (1e-4, 0.1)
    assert found.reason == (
        "lr is now searched from 0.0001 to 0.562, because the 3 best of 9 settings lie at its "
        "upper end, 0.1"
    )
    others = {name: p for name, p in found.space.parameters.items() if name != "lr"}
    assert others == {n: p for n, p in build(DATA, DEFAULTS, {}).parameters.items() if n != "lr"}


def test_runs_too_short_to_rank_settings_widen_nothing():
    state = study(*HIGH, *REST)
    for trial in state.of(Role.SEARCH):
        state.keep(replace(trial, step=1), [])
    assert widening.widened(state) is None


def test_the_lower_end_is_widened_likewise():
    low = [{"lr": 1.1e-4}] * 3
    new = widening.widened(study(*low, *REST)).space.parameters["lr"]
    assert (new.low, new.high) == (pytest.approx(1e-4 / 10**0.75), 0.1)


@pytest.mark.parametrize(
    "params",
    [
        [*HIGH[:2], {}, *REST],
        [*HIGH, *REST[:5]],
        [{"warmup": 0.5}, {"warmup": 0.49}, {"warmup": 0.5}, *REST],
        [*[{"timescale": 1e4, "decayed": "no"}] * 3, *REST],
    ],
    ids=["two of three", "few settings", "no logarithm", "no effect"],
)
def test_a_range_stays_without_evidence(params):
    assert widening.widened(study(*params)) is None


def test_a_range_is_not_widened_towards_what_diverges():
    state = study(*HIGH, *REST)
    bad = replace(state.trials[9], id=10, number=9, state=TrialState.DIVERGED)
    state.keep(at(bad, **MIDDLE | {"lr": 0.095}))
    assert widening.widened(state) is None


@pytest.mark.parametrize("given", [{"low": 1e-4, "high": 1e-1}, {"high": 1e-1}])
def test_a_range_that_a_person_gave_stays(given):
    assert widening.widened(study(*HIGH, *REST, overrides={"lr": given})) is None


def test_a_range_grows_to_a_limit():
    state = study(*HIGH, *REST)
    for _ in range(2):
        state.space = widening.widened(state).space
        for trial in [state.trials[n] for n in (1, 2, 3)]:
            state.keep(at(trial, **trial.setting.params | {"lr": 9.0}))
    assert state.space.parameters["lr"].high == pytest.approx(0.1 * 10**1.5)
    assert widening.widened(state) is None


def test_what_was_widened_is_not_widened_again_for_the_same_reason():
    state = study(*HIGH, *REST)
    state.space = widening.widened(state).space
    assert widening.widened(state) is None


def test_a_recommended_setting_is_found_by_its_number():
    state = study(*REST, *HIGH)
    late = replace(state.trials[9], id=20, number=19)  # after the finals of a smaller budget
    state.keep(late)
    assert [text.split(" is ")[0] for text in widening.recommended(state, 19)] == ["lr = 0.1"]
    assert list(widening.recommended(state, 0)) == list(widening.recommended(state, None)) == []


def test_a_beta_stays_a_beta():
    far = [{"one_minus_beta1": 0.5}] * 3
    assert widening.widened(study(*far, *REST)).space.parameters["one_minus_beta1"].high == 1.0


def test_the_grid_of_a_table_stays():
    axis = levels((1e-3, 1e-2, 1e-1))
    assert axis.wider(True, 0.25, 0.5) == axis


def test_a_widened_range_is_stored_with_what_it_began_with():
    wide = Range(low=1e-4, high=1e-1, log=True).wider(True, 0.25, 0.5)
    data = {"lr": wide.as_data()}
    assert from_data(data, {}).parameters["lr"] == wide
    assert wide.first == Range(low=1e-4, high=1e-1, log=True)
    assert widening.recorded(build(DATA, DEFAULTS, {}), data).parameters["lr"] == wide
    assert widening.widened_ranges(data) == [
        "lr was searched from 0.0001 to 0.562; the range 0.0001 to 0.1 was widened because "
        "the best settings lay at its end"
    ]


def test_a_setting_at_the_end_of_a_widened_range_is_warned_of():
    wide = Range(low=1e-4, high=1e-1, log=True).wider(True, 0.25, 0.5)
    assert list(widening.warnings({"lr": wide.high}, {"lr": wide.as_data()})) == [
        "lr = 0.562 is at the upper end of its range, 0.0001 to 0.562, which was widened: "
        "the best may lie beyond"
    ]


@pytest.fixture
def far(tmp_path):
    """A search whose loss falls as long as lr grows."""
    path = tmp_path / "far.py"
    path.write_text(EDGE_TASK)

    def make(**changes):
        return parse(
            {
                "model": f"{path}:problem",
                "optimizers": ["adamw"],
                "budget": {"trials": 40},
                "steps": 27,
                "engine": "inline",
                **changes,
            }
        )

    return make


def test_a_search_widens_lr_says_so_and_goes_on_from_there(far, tmp_path):
    heard = []
    with Store(str(tmp_path / "autotune.db")) as store:
        run(far(), store=store, listen=heard.append)
        (study,) = store.search("problem").studies
        trials = store.trials(study.id)
        kind, low, high, *began = study.space["lr"]
        run(far(budget={"trials": 42}), store=store)
        (later,) = store.search("problem").studies
    assert (kind, low < high, began[1] < high) == ("log", True, True)
    assert max(trial.setting.hyper["lr"] for trial in trials) > began[1]
    assert any(text.startswith("adamw: lr is now searched from ") for text in _said(heard))
    assert later.space["lr"][2] >= high


def test_a_search_warns_where_the_best_lies_at_the_end_of_a_persons_range(far, tmp_path):
    heard = []
    with Store(str(tmp_path / "autotune.db")) as store:
        run(far(space={"lr": {"high": 0.01}}), store=store, listen=heard.append)
        (study,) = store.search("problem").studies
        trials = store.trials(study.id)
    assert study.space["lr"][2:] == [0.01]
    assert math.isclose(max(trial.setting.hyper["lr"] for trial in trials), 0.01)
    assert any("adamw: lr = 0.01 is at the upper end of its range" in t for t in _said(heard))


def _said(heard):
    return [event.text for event in heard if hasattr(event, "text")]
