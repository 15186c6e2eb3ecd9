"""What a study's measurements are worth: short runs beside long ones, seeds beside settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, stdev

from autotune.studies.records import Role, TrialRecord, TrialState

FEWEST = 4  # settings in a rank correlation
DECILE = 0.1
BEST = 5  # settings whose spread is set against the seeds'

Losses = Mapping[int, Mapping[int, float]]  # trial id -> step -> validation loss


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far the order of settings at one rung is that of the next.

    Args:
        short: Steps of the one.
        long: Steps of the other.
        trials: Settings measured at both: halving leaves the better ones.
        overall: Spearman's rank correlation; None for fewer than four settings, and where all of
            one rung's losses are equal.
        top: The same among the best tenth at the longer rung, which is what choosing needs.
    """

    short: int
    long: int
    trials: int
    overall: float | None
    top: float | None


@dataclass(frozen=True, kw_only=True)
class Honesty:
    """What one study can tell apart.

    Args:
        agreements: Between neighbouring rungs.
        noise: Standard deviation of a full-length loss over seeds, what all settings have in
            common taken out; None without settings run on several seeds.
        spread: Standard deviation of full-length losses among the best settings, on one seed.
        warning: What the budget could not separate, as a sentence.
    """

    agreements: tuple[Agreement, ...]
    noise: float | None
    spread: float | None
    warning: str | None


def honesty(trials: Sequence[TrialRecord], losses: Losses, steps: Sequence[int]) -> Honesty:
    """Return what a study's trials say of its own measurements.

    Args:
        trials: All of the study.
        losses: Their validation losses.
        steps: The rungs.
    """
    searched = [t for t in trials if t.role is Role.SEARCH and t.state is not TrialState.DIVERGED]
    curves = [losses.get(t.id, {}) for t in searched]
    noise, spread = _noise(trials), _spread(searched)
    return Honesty(
        agreements=tuple(_agreement(curves, *pair) for pair in pairwise(sorted(steps))),
        noise=noise,
        spread=spread,
        warning=_warning(noise, spread),
    )


def _agreement(curves: Iterable[Mapping[int, float]], short: int, long: int) -> Agreement:
    pairs = sorted((c[long], c[short]) for c in curves if short in c and long in c)
    best = pairs[: math.ceil(DECILE * len(pairs))]
    return Agreement(
        short=short, long=long, trials=len(pairs), overall=_spearman(pairs), top=_spearman(best)
    )


def _spearman(pairs: Sequence[tuple[float, float]]) -> float | None:
    columns = list(zip(*pairs, strict=True))
    if len(pairs) < FEWEST or any(len(set(column)) == 1 for column in columns):
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(*columns).statistic)


def _noise(trials: Sequence[TrialRecord]) -> float | None:
    """Return the noise left between settings on one seed; Bessel's correction for both means."""
    runs: dict[int, dict[int, float]] = {}
    for trial in trials:
        if trial.state is TrialState.COMPLETE and trial.loss is not None:
            number = trial.number if trial.source is None else trial.source
            runs.setdefault(number, {})[trial.seed] = trial.loss
    several = [one for one in runs.values() if len(one) > 1]
    squares, free = 0.0, 0
    for one, other in _paired(several):
        shared = sorted(one.keys() & other.keys())
        apart = [one[seed] - other[seed] for seed in shared]
        squares += sum((d - mean(apart)) ** 2 for d in apart) / 2
        free += len(apart) - 1
    return math.sqrt(squares / free) if free else None


def _paired(runs: Sequence[Mapping[int, float]]) -> Iterable[tuple[Mapping[int, float], ...]]:
    """Pair the setting with most seeds with every other that shares at least two with it."""
    ordered = sorted(runs, key=len, reverse=True)
    first = ordered[0] if ordered else {}
    return [(first, other) for other in ordered[1:] if len(first.keys() & other.keys()) > 1]


def _spread(searched: Sequence[TrialRecord]) -> float | None:
    done = [t.loss for t in searched if t.state is TrialState.COMPLETE and t.loss is not None]
    best = sorted(done)[:BEST]
    return stdev(best) if len(best) > 1 else None


def _warning(noise: float | None, spread: float | None) -> str | None:
    if noise is None or spread is None or noise < spread:
        return None
    return (
        f"the best settings differ by less ({spread:.2g}) than one setting does from seed to seed "
        f"({noise:.2g}): which of them is best, this budget cannot tell"
    )
