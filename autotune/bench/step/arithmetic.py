"""What a benchmark's laps come to: medians, their spread, shares and ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from autotune.bench.step.contest import Turn

NOISY = 0.1  # of the median, between the quartiles


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A median, the least value and the quartiles."""

    median: float
    least: float
    lower: float
    upper: float

    @property
    def noisy(self) -> bool:
        """Whether half of the values lie further apart than a tenth of their median."""
        return self.upper - self.lower > NOISY * self.median


def spread(values: Sequence[float]) -> Spread:
    """Return how values are spread."""
    lower, middle, upper = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    return Spread(median=middle, least=min(values), lower=lower, upper=upper)


def milliseconds(turns: Sequence[Turn]) -> Spread:
    """Return how long steps took."""
    return spread([1e3 * lap.seconds for turn in turns for lap in turn.steps])


def host_milliseconds(turns: Sequence[Turn]) -> Spread:
    """Return how long it took until the steps' calls returned."""
    return spread([1e3 * lap.host for turn in turns for lap in turn.steps])


def host_bound(turns: Sequence[Turn]) -> bool:
    """Whether the device may have waited for the host in most of the steps."""
    return median(lap.host_bound for turn in turns for lap in turn.steps) > 0.5


def bandwidth(turns: Sequence[Turn], size: int) -> Spread:
    """Return the bytes a second of a stream that moves ``size`` bytes a pass."""
    return spread([size / lap.seconds for turn in turns for lap in turn.streams])


def share(turns: Sequence[Turn], moved: float, size: int) -> float:
    """Return the bandwidth of steps that move ``moved`` bytes, over that of the stream beside them.

    Both are medians of a turn: what slowed one pass of the stream says nothing about another step.
    """
    return median(
        (moved / median(lap.seconds for lap in turn.steps))
        / (size / median(lap.seconds for lap in turn.streams))
        for turn in turns
    )


def ratio(ours: Sequence[Turn], theirs: Sequence[Turn]) -> float:
    """Return how many times as long their step takes as ours, as the median over the rounds."""
    return median(
        median(lap.seconds for lap in their.steps) / median(lap.seconds for lap in our.steps)
        for our, their in zip(ours, theirs, strict=True)
    )
