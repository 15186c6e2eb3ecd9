"""What the best settings share is what Optuna says of the same trials."""

from __future__ import annotations

import random
import warnings

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from autotune.app.axes import axes, value
from autotune.app.best import of_best, quantile
from autotune.app.fidelity import Sample

SPACE = {
    "lr": ["log", 1e-4, 1e-1],
    "warmup": ["linear", 0.0, 0.3],
    "timescale": ["log", 1e2, 1e5],
    "decayed": ["choice", ["yes", "no", "maybe"]],
    "ema": ["choice", ["on", "off"]],
}


def compared(trial, count):
    """Settings of which the timescale and the averaging are not always there."""
    draw = random.Random(count)
    tried = []
    for i in range(count):
        params = {
            "lr": 10 ** draw.uniform(-4, -1),
            "warmup": draw.choice([0.0, 0.1, 0.3, 0.3 * draw.random()]),
            "timescale": 10 ** draw.uniform(2, 5),
            "decayed": draw.choice(["yes", "no"]),
        }
        some = {"ema": draw.choice(["on", "off"])} if draw.random() < 0.5 else {}
        tried.append(trial(i, params=params | some))
    losses = [round(abs(one.setting.params["lr"] - 0.01) + draw.random(), 1) for one in tried]
    return Sample(step=90, target=90, trials=tuple(tried), losses=tuple(losses))


def by_optuna(sample, varied):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    kinds = {
        axis.name: CategoricalDistribution(axis.choices)
        if axis.choices
        else FloatDistribution(axis.low, axis.high, log=axis.log)
        for axis in varied
    }
    for trial, loss in zip(sample.trials, sample.losses, strict=True):
        known = {n: item for n in kinds if (item := value(trial, n)) is not None}
        domains = {name: kinds[name] for name in known}
        study.add_trial(optuna.create_trial(params=known, distributions=domains, value=loss))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(
        target_quantile=quantile(len(sample.trials))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of parameters that few trials have
        return optuna.importance.get_param_importances(study, evaluator=evaluator)


@pytest.mark.parametrize("count", [2, 3, 9, 40, 600])
def test_shares_are_those_of_optuna(trial, count):
    sample = compared(trial, count)
    varied = axes(SPACE, sample.trials)

    found = of_best(sample, varied, draws=0)

    assert {name: one.share for name, one in found.items()} == pytest.approx(
        by_optuna(sample, varied), rel=1e-9
    )


def test_ranges_are_drawn_where_settings_are_few(trial):
    few, many = (compared(trial, count) for count in (40, 600))

    found = of_best(few, axes(SPACE, few.trials))

    assert all(one.low <= one.high and one.high > 0 for one in found.values())
    assert all(one.low is None for one in of_best(many, axes(SPACE, many.trials)).values())
