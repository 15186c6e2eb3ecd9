"""What the best settings share: Optuna's PED-ANOVA, with ranges of bootstrap draws."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from autotune.app.axes import Axis, value
from autotune.app.explained import DRAWS, Importance, summary
from autotune.app.fidelity import Sample
from autotune.app.importance import quantile
from autotune.studies.records import TrialRecord

AFFORDABLE = 500  # trials beyond which drawing again and again would keep a reader waiting


def of_best(sample: Sample, axes: Sequence[Axis], draws: int = DRAWS) -> dict[str, Importance]:
    """Return by parameter how much the best settings have in common: Optuna's PED-ANOVA."""
    pairs = list(zip(sample.trials, sample.losses, strict=True))
    whole = _shares(pairs, axes)
    generator = random.Random(0)
    drawn = [
        _shares(generator.choices(pairs, k=len(pairs)), axes)
        for _ in range(draws if len(pairs) <= AFFORDABLE else 0)
    ]
    return {n: summary(share, [d.get(n, 0.0) for d in drawn]) for n, share in whole.items()}


def _shares(pairs: Sequence[tuple[TrialRecord, float]], axes: Sequence[Axis]) -> dict[str, float]:
    # Optuna would log every study it creates, and the name is nobody's business here.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    domains = {axis.name: _domain(axis) for axis in axes}
    study.add_trials([_frozen(trial, loss, domains) for trial, loss in pairs])
    evaluator = PedAnovaImportanceEvaluator(target_quantile=quantile(len(pairs)))
    with warnings.catch_warnings():
        # It warns when few trials have a parameter; the bootstrap range shows as much.
        warnings.simplefilter("ignore", UserWarning)
        return get_param_importances(study, evaluator=evaluator) if domains else {}


def _domain(axis: Axis) -> BaseDistribution:
    if axis.choices:
        return CategoricalDistribution(axis.choices)
    return FloatDistribution(axis.low, axis.high, log=axis.log)


def _frozen(
    trial: TrialRecord, loss: float, domains: Mapping[str, BaseDistribution]
) -> optuna.trial.FrozenTrial:
    given = {name: value(trial, name) for name in domains}
    known = {name: item for name, item in given.items() if item is not None}
    return optuna.trial.create_trial(
        params={n: str(v) if _chosen(domains[n]) else float(v) for n, v in known.items()},
        distributions={name: domains[name] for name in known},
        value=loss,
    )


def _chosen(domain: BaseDistribution) -> bool:
    return isinstance(domain, CategoricalDistribution)
