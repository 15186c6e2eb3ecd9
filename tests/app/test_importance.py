"""Importance says what explains the loss, as the data beside it do, and is silent on chance."""

from __future__ import annotations

import math
import random
import time
from types import MappingProxyType

import pytest

from autotune.app import importance
from autotune.app.axes import axes
from autotune.app.explained import MOST, explain
from autotune.app.fidelity import Sample, sample, samples
from autotune.app.importance import matters
from autotune.studies.records import TrialState

SPACE = MappingProxyType(
    {
        "lr": ["log", 1e-4, 1e-1],
        "timescale": ["log", 1e2, 1e5],
        "one_minus_beta1": ["log", 1e-2, 0.3],
        "one_minus_beta2": ["log", 1e-2, 0.3],
        "warmup": ["linear", 0.0, 0.2],
    }
)


def drawn(generator, domain):
    kind, *bounds = domain
    if kind == "choice":
        return generator.choice(bounds[0])
    unit = generator.random()
    if kind == "log":
        return bounds[0] * (bounds[1] / bounds[0]) ** unit
    return bounds[0] + unit * (bounds[1] - bounds[0])


def cliff(params, generator):
    """Return a loss that only the learning rate decides; timescale shapes it a little."""
    if params["lr"] > 2e-2:
        return 2.3 + generator.gauss(0, 0.01)
    return 0.1 + 0.02 * abs(math.log10(params["timescale"]) - 4) + generator.gauss(0, 0.01)


def at_chance(params, generator):
    return math.log(64) + generator.gauss(0, 0.003)


def upper(params, name):
    low, high = SPACE[name][1:]
    return params[name] > math.sqrt(low * high)


@pytest.fixture
def ran(trial):
    """Draw settings at random, and end each as a function says: None diverges."""

    def make(count, loss_of, space=SPACE, seed=0, **values):
        generator = random.Random(seed)
        trials = []
        for number in range(count):
            params = {name: drawn(generator, domain) for name, domain in space.items()}
            loss = loss_of(params, generator)
            state = TrialState.DIVERGED if loss is None else TrialState.COMPLETE
            trials.append(trial(number, params=params, loss=loss, state=state, **values))
        return trials

    return make


def explained(trials, space=SPACE, **values):
    compared = sample(trials, {})
    return explain(compared, axes(space, [*compared.trials, *compared.diverged]), **values)


@pytest.mark.parametrize("seed", range(3))
def test_a_learning_rate_cliff_is_explained_by_the_learning_rate(ran, seed):
    found = explained(ran(38, cliff, seed=seed))

    assert next(iter(found.shares)) == "lr"
    assert found.shares["lr"].share > 0.8
    assert found.agreement > 0.9


@pytest.mark.parametrize(
    "loss", [at_chance, lambda p, g: 4.2 + g.gauss(0, 0.1)], ids=["two", "one"]
)
def test_losses_at_chance_have_no_importance_and_it_is_said(ran, loss):
    found = explained(ran(38, loss))

    assert found.shares == {}
    assert "at chance" in found.refusal or "no better than chance" in found.refusal


def test_losses_at_chance_have_no_best_share_either(ran):
    found = matters(samples(ran(38, at_chance), {}), SPACE)

    assert (found.best, found.explained.shares) == ({}, {})


def test_losses_within_the_noise_of_seeds_are_not_explained(ran):
    trials = ran(38, cliff)

    assert explained(trials, noise=0.1).shares
    assert "differ no more than one setting's over seeds" in explained(trials, noise=2.0).refusal


def test_a_parameter_that_matters_only_with_another_is_found(ran):
    def both(params, generator):
        return 1 + (upper(params, "lr") != upper(params, "one_minus_beta1"))

    found = explained(ran(60, both)).shares

    assert set(list(found)[:2]) == {"lr", "one_minus_beta1"}
    assert found["one_minus_beta1"].share > 0.2


def test_a_choice_that_decides_comes_first(ran):
    space = {**SPACE, "acceleration": ["choice", ["none", "win", "win2"]]}

    def loss(params, generator):
        return {"none": 1.0, "win": 2.0, "win2": 1.4}[params["acceleration"]]

    assert next(iter(explained(ran(38, loss, space), space).shares)) == "acceleration"


def test_diverged_settings_count_as_the_worst(ran):
    trials = ran(38, lambda p, g: None if p["lr"] > 2e-2 else 0.5 + g.gauss(0, 0.001))

    assert explained(trials).shares["lr"].share > 0.8


def test_one_absurd_loss_does_not_decide(ran):
    trials = ran(38, cliff)
    absurd = [*trials[1:], *ran(1, lambda p, g: 1e12, seed=7)]

    assert next(iter(explained(absurd).shares)) == "lr"


@pytest.mark.parametrize("factor", [1e-7, 1e29, 1e200])
def test_the_unit_of_the_loss_changes_nothing(ran, factor):
    found = explained(ran(38, lambda p, g: factor * cliff(p, g)))

    assert found.shares["lr"].share > 0.8


@pytest.mark.parametrize(
    ("count", "loss", "said"),
    [
        (20, lambda p, g: None, "All 20 settings diverged"),
        (1, cliff, "needs 8 settings measured after equally many steps; there are 1."),
        (38, lambda p, g: 1.0, "hardly differ"),
    ],
    ids=["all diverged", "one", "ties"],
)
def test_nothing_to_explain_is_said(ran, count, loss, said):
    found = explained(ran(count, loss))

    assert (found.shares, said in found.refusal) == ({}, True)


def test_settings_that_do_not_vary_are_said(ran):
    same = ran(10, lambda p, g: g.random(), {"lr": ["log", 1e-3, 1e-3]})

    assert explained(same).refusal == "All settings are alike in every parameter."


def test_a_constant_parameter_is_left_out(ran):
    space = {**SPACE, "warmup": ["linear", 0.1, 0.1]}

    assert "warmup" not in explained(ran(38, cliff, space), space).shares


def test_a_setting_outside_of_the_space_is_no_obstacle(ran, trial):
    far = trial(99, params={**{n: d[1] for n, d in SPACE.items()}, "lr": 10.0}, loss=2.3)

    assert next(iter(explained([*ran(38, cliff), far]).shares)) == "lr"


def test_a_parameter_without_effect_where_another_is_off_is_no_obstacle(ran):
    space = {**SPACE, "decayed": ["choice", ["yes", "no"]]}
    found = explained(ran(60, cliff, space), space).shares

    assert next(iter(found)) == "lr"
    assert found["timescale"].share < 0.1


def test_the_longest_runs_that_tell_are_used(ran, curve):
    """Thirty settings after a third of the steps, eight after all: at chance there."""
    trials = ran(30, lambda p, g: None, step=30)
    generator = random.Random(3)
    short = [cliff(one.setting.params, generator) for one in trials]
    ended = {"state": TrialState.PAUSED}
    trials = [one.__class__(**{**vars(one), **ended}) for one in trials]
    curves = {one.id: curve(loss) for one, loss in zip(trials, short, strict=True)}
    for one in trials[:8]:
        curves[one.id] = curve(short[one.number], 4.16, 4.16)

    found = matters(samples(trials, curves), SPACE)

    assert (found.explained.sample.step, found.longer) == (30, True)
    assert next(iter(found.explained.shares)) == "lr"
    assert "Longer runs do not tell." in importance.caption(found)


def test_few_settings_for_many_parameters_are_called_rough(ran):
    few, many = (matters(samples(ran(n, cliff), {}), SPACE) for n in (14, 60))

    assert "14 settings are too few for 5 parameters" in importance.caption(few)
    assert "too few" not in importance.caption(many)
    assert few.explained.shares["lr"].low < few.explained.shares["lr"].share


def test_ten_thousand_settings_are_thinned_by_a_rule_that_is_said(ran):
    trials = ran(10_000, cliff)
    compared, varied = sample(trials, {}), axes(SPACE, trials)
    began = time.process_time()

    found = explain(compared, varied)

    assert time.process_time() - began < 10
    assert found.shares["lr"].share > 0.9
    said = importance.caption(importance.Matters(explained=found))
    assert f"A fixed random draw of {MOST} is used." in said


def test_both_measures_are_drawn_under_their_own_names(ran):
    found = matters(samples(ran(38, cliff), {}), SPACE)

    chart = importance.figure(found.explained.shares, found.best, "#000000")

    assert [bar.name for bar in chart.data] == [importance.BEST, importance.EXPLAINS]
    assert "PED-ANOVA" in chart.data[0].name
    assert chart.data[1].y[-1] == "learning rate"


def test_importance_repeats_itself_and_has_no_range_without_draws(ran):
    trials = ran(38, cliff)
    varied = axes(SPACE, trials)

    one, other = (explain(sample(trials, {}), varied, draws=6).shares for _ in range(2))

    assert one == other
    assert explain(sample(trials, {}), varied, draws=0).shares["lr"].low is None


def test_no_sample_at_all_is_said():
    assert "there are 0" in matters([Sample()], SPACE).explained.refusal
