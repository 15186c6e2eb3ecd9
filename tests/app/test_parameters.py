"""Which settings are compared, on which axes, and what is said about parameters."""

from __future__ import annotations

import math
import random

import pytest

from autotune.app import fidelity, parallel
from autotune.app.axes import Axis, axes
from autotune.app.explained import explain
from autotune.app.fidelity import Sample, sample
from autotune.app.importance import quantile
from autotune.studies.records import Role, TrialState

SPACE = {"lr": ["log", 1e-4, 1e-2], "warmup": ["linear", 0.0, 0.2]}


@pytest.fixture
def bowl(trial):
    """Forty settings whose loss depends on lr alone."""
    generator = random.Random(1)
    trials = []
    for number in range(40):
        params = {"lr": 10 ** generator.uniform(-4, -2), "warmup": generator.uniform(0, 0.2)}
        loss = (math.log10(params["lr"]) + 3) ** 2
        trials.append(trial(number, params=params, loss=loss))
    return sample(trials, {})


def test_settings_are_compared_at_the_longest_step_enough_of_them_reached(trial, curve):
    trials = [trial(i, loss=None, state=TrialState.PAUSED) for i in range(3)]
    curves = {100: curve(3, 2, 1), 101: curve(4, 3), 102: curve(5)}

    found = sample(trials, curves, enough=2)

    assert (found.step, found.losses) == (60, (2, 3))


def test_too_few_settings_are_compared_where_most_were_measured(trial, curve):
    found = sample([trial(0, loss=1.0), trial(1, loss=None)], {101: curve(4)}, enough=8)

    assert (found.step, len(found.trials)) == (90, 1)


def test_fresh_seeds_are_not_mixed_with_the_search(trial):
    found = sample([trial(0, loss=1.0), trial(1, loss=0.5, role=Role.JUDGE)], {})

    assert found.losses == (1.0,)


def test_nothing_measured_is_an_empty_sample(trial):
    assert sample([trial(0, state=TrialState.FAILED)], {}) == Sample()


def test_a_sample_says_how_long_its_runs_were(trial):
    assert str(Sample(step=30, target=90, trials=(trial(0),))) == "1 trial after 30 of 90 steps"


def test_thinning_keeps_the_best_quarter(trial):
    whole = Sample(trials=tuple(trial(i) for i in range(100)), losses=tuple(range(100)))

    kept = fidelity.thinned(whole, 40)

    assert (kept[:10], len(set(kept))) == (list(range(10)), 40)


def test_a_fixed_parameter_has_no_axis(trial):
    trials = [trial(i, params={"lr": 10.0**-i, "warmup": 0.1}) for i in (2, 3)]

    assert [axis.name for axis in axes(SPACE, trials)] == ["lr"]


def test_a_preset_outside_of_the_space_widens_its_axis(trial):
    trials = [trial(i, params={"lr": lr}) for i, lr in enumerate((1e-3, 1.0))]

    assert axes(SPACE, trials) == [Axis(name="lr", log=True, low=1e-4, high=1.0)]


def test_a_fixed_text_in_the_space_does_not_disturb_an_axis(trial):
    trials = [trial(i, params={"decayed": d}) for i, d in enumerate(("no", "yes"))]

    assert axes({"decayed": ["fixed", "yes"]}, trials)[0].choices == ("no", "yes")


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(1e-4, 3e-2, [1e-4, 1e-3, 1e-2]), (0.015, 0.2, [0.02, 0.05, 0.1, 0.2])],
    ids=["decades", "fine"],
)
def test_logarithmic_ticks_are_round(low, high, ticks):
    assert Axis(name="lr", log=True, low=low, high=high).ticks() == pytest.approx(ticks)


def test_parallel_axes_show_values_not_exponents(trial):
    trials = tuple(trial(i, params={"lr": 10.0**-i}) for i in (2, 3))
    compared = Sample(step=90, target=90, trials=trials, losses=(1.0, 2.0))

    lr = parallel.figure(compared, axes(SPACE, trials), "#000000").data[0].dimensions[0]

    assert lr.ticktext == ("0.0001", "0.001", "0.01")
    assert lr.tickvals == pytest.approx((-4, -3, -2))
    assert lr["values"] == pytest.approx((-3, -2))


def test_a_parameter_that_a_setting_lacks_stands_below_its_axis(trial):
    trials = (
        trial(0, params={"timescale": 100.0, "decayed": "no"}),
        trial(1, params={"timescale": 100.0, "decayed": "yes"}),
        trial(2, params={"timescale": 1000.0, "decayed": "yes"}),
    )
    compared = Sample(step=90, target=90, trials=trials, losses=(1.0, 2.0, 3.0))
    found = axes({"timescale": ["log", 100.0, 1000.0]}, trials)

    timescale = parallel.figure(compared, found, "#000000").data[0].dimensions[0]

    assert timescale.ticktext[0] == "none"
    assert timescale["values"][-1] < timescale["values"][-2]


@pytest.mark.parametrize("count", [5, 10])
def test_one_terrible_loss_does_not_make_all_others_look_alike(trial, count):
    trials = [trial(n, params={"lr": 1e-3}, loss=float(n)) for n in range(count - 1)]
    trials.append(trial(count, params={"lr": 1e-2}, loss=1e6))
    chart = parallel.figure(sample(trials, {}), axes(SPACE, trials), "#000000")
    assert chart.data[0].line.cmax < count


def test_parallel_coordinates_never_draw_more_than_so_many_lines(trial):
    trials = tuple(trial(i, params={"lr": 1e-4 * (1 + i % 90)}) for i in range(5000))
    compared = Sample(step=90, target=90, trials=trials, losses=tuple(map(float, range(5000))))

    chart = parallel.figure(compared, axes(SPACE, trials), "#000000")

    losses = chart.data[0].dimensions[-1]["values"]
    assert (len(losses), losses[-1]) == (parallel.LINES, 0.0)


def test_importance_finds_the_parameter_that_matters(bowl):
    found = explain(bowl, axes(SPACE, bowl.trials), draws=5).shares

    assert next(iter(found)) == "lr"
    assert found["lr"].share > 0.8


def test_importance_repeats_itself(bowl):
    found = [explain(bowl, axes(SPACE, bowl.trials), draws=3).shares for _ in range(2)]

    assert found[0] == found[1]


def test_importance_without_draws_has_no_range(bowl):
    assert explain(bowl, axes(SPACE, bowl.trials), draws=0).shares["lr"].low is None


def test_importance_of_nothing_is_empty(bowl):
    assert explain(bowl, []).shares == {}


@pytest.mark.parametrize(("count", "share"), [(8, 0.5), (20, 0.25), (1000, 0.1)])
def test_few_trials_count_a_larger_share_as_best(count, share):
    assert quantile(count) == share
