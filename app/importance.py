"""Which parameters decide the loss: Optuna's PED-ANOVA over settings of equal length."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
import plotly.graph_objects as go
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from autotune.app import look, words
from autotune.app.axes import Axis, value
from autotune.app.fidelity import Sample
from autotune.studies.records import TrialRecord

EVALUATOR = "PED-ANOVA"
DRAWS = 20  # of the bootstrap
AFFORDABLE = 500  # trials beyond which drawing again and again would keep a reader waiting
TOP = 5  # trials PED-ANOVA wants among the best


@dataclass(frozen=True, kw_only=True)
class Importance:
    """A parameter's share, and the range nine of ten bootstrap draws fell into, if drawn."""

    share: float
    low: float | None = None
    high: float | None = None


def quantile(count: int) -> float:
    """Return the share of trials that counts as best: a tenth, more when trials are few."""
    return max(0.1, min(0.5, TOP / count))


def importances(sample: Sample, axes: Sequence[Axis], draws: int = DRAWS) -> dict[str, Importance]:
    """Return each parameter's importance, the largest first; empty when nothing varies."""
    pairs = list(zip(sample.trials, sample.losses, strict=True))
    whole = _shares(pairs, axes)
    generator = random.Random(0)
    drawn = [
        _shares(generator.choices(pairs, k=len(pairs)), axes)
        for _ in range(draws if len(pairs) <= AFFORDABLE else 0)
    ]
    return {
        name: _summary(share, [d.get(name, 0.0) for d in drawn]) for name, share in whole.items()
    }


def _summary(share: float, drawn: Sequence[float]) -> Importance:
    if not drawn:
        return Importance(share=share)
    ranked = sorted(drawn)
    cut = len(ranked) // 20
    return Importance(share=share, low=ranked[cut], high=ranked[-1 - cut])


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


def figure(found: Mapping[str, Importance], colour: str) -> go.Figure:
    """Draw a bar for each parameter, with its bootstrap range."""
    ranked = sorted(found.items(), key=lambda item: item[1].share)
    drawn = any(item.high is not None for _, item in ranked)
    chart = go.Figure()
    chart.add_bar(
        x=[item.share for _, item in ranked],
        y=[words.label(name) for name, _ in ranked],
        orientation="h",
        marker={"color": colour},
        error_x=_whiskers([item for _, item in ranked]) if drawn else None,
        hovertemplate="%{y}: %{x:.0%}<extra></extra>",
    )
    title, height = f"importance ({EVALUATOR})", 92 + 34 * len(ranked)
    look.frame(chart, x=title, y="", height=height, legend=False)
    return chart.update_xaxes(tickformat=".0%", rangemode="tozero")


def _whiskers(items: Sequence[Importance]) -> dict[str, object]:
    highs = [item.share if item.high is None else item.high for item in items]
    lows = [item.share if item.low is None else item.low for item in items]
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, high - i.share) for high, i in zip(highs, items, strict=True)],
        "arrayminus": [max(0.0, i.share - low) for low, i in zip(lows, items, strict=True)],
        "color": look.NEUTRAL,
        "thickness": 1.5,
    }
