"""Means, intervals and verdicts over paired seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autotune.results.figures import figure, signed, together, with_half

CONFIDENCE = 0.95
_HUGE = 1e150  # squares of larger losses, as float64 has them, would overflow


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean and its interval; the bounds are None for fewer than two values."""

    mean: float
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        """Write the mean and half the width of the interval."""
        if self.low is None or self.high is None:
            return f"{figure(self.mean)} (n={self.n})"
        return " ± ".join(with_half(self.mean, (self.high - self.low) / 2))


def estimate(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean of ``values`` and its Student's t interval."""
    n = len(values)
    size = max(map(abs, values))
    if _HUGE < size < math.inf:
        one = estimate([value / size for value in values], confidence)
        low, high = (None if end is None else end * size for end in (one.low, one.high))
        return Estimate(mean=one.mean * size, low=low, high=high, n=n)
    mean = math.fsum(values) / n
    if n < 2:
        return Estimate(mean=mean, low=None, high=None, n=n)
    # SciPy takes 0.3 s to import: only comparisons pay for it.
    from scipy.special import stdtrit

    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * math.sqrt(variance / n)
    return Estimate(mean=mean, low=mean - half, high=mean + half, n=n)


def paired(
    ours: Mapping[int, float], theirs: Mapping[int, float], confidence: float = CONFIDENCE
) -> Estimate | None:
    """Return the mean of ours - theirs over the seeds that both ran; None if there are none."""
    seeds = sorted(set(ours) & set(theirs))
    differences = [ours[seed] - theirs[seed] for seed in seeds]
    return estimate(differences, confidence) if seeds else None


def verdict(
    difference: Estimate | None, ours: str, theirs: str, confidence: float = CONFIDENCE
) -> str:
    """Return in words what a paired difference of losses shows; its interval is of ``confidence``.

    Where several are looked at, each interval needs a higher one (Bonferroni).
    """
    if difference is None:
        return f"{ours} and {theirs} share no seed: not compared"
    if difference.low is None or difference.high is None:
        return f"one seed says nothing about {ours} against {theirs}"
    percent = f"{100 * confidence:.3g}% interval"
    ends = sorted((abs(difference.low), abs(difference.high)))
    mean, low, high = together(abs(difference.mean), *ends)
    size = f"{mean} ({percent} {low} to {high})"
    if difference.high < 0:
        return f"{ours} beats {theirs} by {size}"
    if difference.low > 0:
        return f"{ours} loses to {theirs} by {size}"
    low, high = map(signed, together(difference.low, difference.high))
    between = f"{percent} {low} to {high}"
    return f"no significant difference between {ours} and {theirs} ({between})"
