"""Compare methods by their regrets in paired repetitions: medians, ratios, ranks, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from autotune.bench.search.repeat import Record
from autotune.bench.search.table import Floats
from autotune.results.intervals import CONFIDENCE

RESAMPLES = 4000
# Smaller regrets count as this one, because their logarithms would exaggerate tiny differences.
FLOOR = 1e-3


class Verdict(StrEnum):
    """What the numbers show."""

    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A median of regrets and its interval."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """The geometric mean of one method's regret divided by another's, over repetitions.

    Args:
        ratio: Below 1 if the first is better.
        low: Lower end of its interval.
        high: Upper end of its interval.
        p: p-value of Wilcoxon's signed-rank test.
        median: The ratio of the two medians.
    """

    ratio: float
    low: float
    high: float
    p: float
    median: float

    @property
    def verdict(self) -> Verdict:
        """Return which is better; interval and test must agree."""
        if self.p >= 1 - CONFIDENCE or self.low <= 1 <= self.high:
            return Verdict.UNDECIDED
        return Verdict.BETTER if self.high < 1 else Verdict.WORSE


def spreads(regrets: Floats) -> list[Spread | None]:
    """Return the median at each checkpoint; None if the method cannot use that budget."""
    found: list[Spread | None] = []
    for column in regrets.T:
        if np.isnan(column).any():
            found.append(None)
            continue
        low, high = _interval(np.median(column[_again(len(column))], axis=1))
        found.append(Spread(median=float(np.median(column)), low=low, high=high))
    return found


def ratios(records: Sequence[Record], one: str, other: str) -> list[Ratio | None]:
    """Return the ratio of two methods at each checkpoint; all tables have equal weight."""
    pairs = [(_log(record.regrets[one]), _log(record.regrets[other])) for record in records]
    medians = [np.median(np.exp(a), axis=0) / np.median(np.exp(b), axis=0) for a, b in pairs]
    middle = np.exp(np.log(medians).mean(axis=0))
    differences = [a - b for a, b in pairs]
    return [
        _ratio([table[:, i] for table in differences], float(middle[i]))
        for i in range(differences[0].shape[1])
    ]


def _ratio(differences: Sequence[Floats], middle: float) -> Ratio | None:
    """Return the ratio for the logarithmic differences of each table."""
    # SciPy's statistics take a second to import.
    from scipy.stats import wilcoxon

    if any(np.isnan(table).any() for table in differences):
        return None
    again = np.mean([table[_again(len(table))].mean(axis=1) for table in differences], axis=0)
    low, high = _interval(again)
    every = np.concatenate(differences)
    p = float(wilcoxon(every).pvalue) if np.any(every) else 1.0
    ratio = float(np.mean([table.mean() for table in differences]))
    return Ratio(
        ratio=float(np.exp(ratio)),
        low=float(np.exp(low)),
        high=float(np.exp(high)),
        p=p,
        median=middle,
    )


def ranks(records: Sequence[Record]) -> dict[str, list[float | None]]:
    """Return each method's mean rank at each checkpoint; 1 is best, ties share a rank."""
    from scipy.stats import rankdata

    names = list(records[0].regrets)
    stacked = np.concatenate([np.stack([r.regrets[n] for n in names]) for r in records], axis=1)
    means = rankdata(stacked, axis=0, nan_policy="omit").mean(axis=1)
    return {
        name: [None if np.isnan(value) else float(value) for value in row]
        for name, row in zip(names, means, strict=True)
    }


def reached(records: Sequence[Record], name: str, by: str, checkpoints: Sequence[float]) -> float:
    """Return the first checkpoint at which a method is as good as another one in the end.

    That must hold on every table; infinity if it never does.
    """
    for i, runs in enumerate(checkpoints):
        medians = [
            (np.median(record.regrets[name][:, i]), np.median(record.regrets[by][:, -1]))
            for record in records
        ]
        if all(own <= goal for own, goal in medians):
            return runs
    return float("inf")


def _log(regrets: Floats) -> Floats:
    return np.log(np.maximum(regrets, FLOOR))


def _again(count: int) -> np.ndarray:
    """Return the repetitions of each bootstrap resample, always the same ones."""
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def _interval(values: Floats) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def verdicts(found: Sequence[Ratio | None], checkpoints: Sequence[float]) -> dict[Verdict, str]:
    """Return for each verdict the budgets with it, in words."""
    by: Mapping[Verdict, list[str]] = {verdict: [] for verdict in Verdict}
    for ratio, runs in zip(found, checkpoints, strict=True):
        if ratio is not None:
            by[ratio.verdict].append(f"{runs:g}")
    return {verdict: _listed(runs) for verdict, runs in by.items() if runs}


def _listed(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
