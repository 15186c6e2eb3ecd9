"""How reliable a study's measurements are: short runs against long ones, seeds against settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, stdev

from autotune.studies.records import Role, TrialRecord, TrialState

FEWEST = 4  # settings for a rank correlation
DECILE = 0.1
BEST = 5  # best settings whose spread is compared with the noise

Losses = Mapping[int, Mapping[int, float]]  # trial id -> step -> validation loss


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well the order of settings at one rung agrees with the next rung.

    Args:
        short: Steps of the shorter rung.
        long: Steps of the longer rung.
        trials: Settings measured at both; mostly good ones, as halving stops the others.
        overall: Spearman's rank correlation; None for fewer than four settings, or if all losses at
            a rung are equal.
        top: The same among the best tenth at the longer rung, which matters for the choice.
    """

    short: int
    long: int
    trials: int
    overall: float | None
    top: float | None


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How reliable the measurements of one study are.

    Args:
        agreements: Agreement of neighbouring rungs.
        noise: Standard deviation of a full-length loss over seeds, without the part that is common
            to all settings; None if no settings were run on several seeds.
        spread: Standard deviation of full-length losses of the best settings on one seed.
        warning: A sentence if the noise is larger than the spread.
    """

    agreements: tuple[Agreement, ...]
    noise: float | None
    spread: float | None
    warning: str | None


def reliability_of(
    trials: Sequence[TrialRecord], losses: Losses, steps: Sequence[int]
) -> Reliability:
    """Return how reliable a study's measurements are.

    Args:
        trials: All trials of the study.
        losses: Their validation losses.
        steps: The rungs.
    """
    searched = [t for t in trials if t.role is Role.SEARCH and t.state is not TrialState.DIVERGED]
    curves = [losses.get(t.id, {}) for t in searched]
    noise, spread = _noise(trials), _spread(searched)
    return Reliability(
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
    import numpy as np

    return float(np.corrcoef([_ranks(column) for column in columns])[0, 1])


def _ranks(values: Sequence[float]) -> Sequence[float]:
    """Return the rank of each value; equal ones share the middle of theirs.

    SciPy's statistics have the same, and take a second and 60 MB to import.
    """
    import numpy as np

    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: list[float] = (np.cumsum(counts) - (counts - 1) / 2)[places].tolist()
    return ranks


def _noise(trials: Sequence[TrialRecord]) -> float | None:
    """Return the noise between settings on one seed, with Bessel's correction for both means."""
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
    """Pair the setting with the most seeds with each other one that shares two seeds or more."""
    ordered = sorted(runs, key=len, reverse=True)
    first = ordered[0] if ordered else {}
    return [(first, other) for other in ordered[1:] if len(first.keys() & other.keys()) > 1]


def _spread(searched: Sequence[TrialRecord]) -> float | None:
    done = [t.loss for t in searched if t.state is TrialState.COMPLETE and t.loss is not None]
    best = sorted(filter(math.isfinite, done))[:BEST]  # the store keeps no others
    return stdev(best) if len(best) > 1 else None


def _warning(noise: float | None, spread: float | None) -> str | None:
    if noise is None or spread is None or noise < spread:
        return None
    return (
        f"the best settings differ by less ({spread:.2g}) than one setting does from seed to seed "
        f"({noise:.2g}): this budget cannot tell which of them is best"
    )
