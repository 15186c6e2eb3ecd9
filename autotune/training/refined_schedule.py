"""A learning-rate schedule refined from the gradient norms of a run (arXiv:2310.07831)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

SGD_L2 = 2  # the power for L2 norms under SGD
ADAM_L1 = 1  # the power for L1 norms under Adam and its kin

MOST = 201  # values of a table: half a percent of a run apart


def refined(norms: Sequence[float], *, power: int, tau: float = 0.0) -> list[float]:
    """Return the schedule that the norms of a run's gradients ask for, as parts of its peak.

    With the smoothed norm S of each step, its weight is w = S^-power, and its rate is w times the
    sum of the weights after it. So constant norms give linear decay, and the last rate is 0.

    Args:
        norms: Of the gradients of each step of a whole run, above 0: L2 for SGD, for Adam and its
            kin L1 over all parameters. Record them before the optimizer's step: some change
            gradients.
        power: 2 for SGD (``SGD_L2``), 1 for Adam and its kin (``ADAM_L1``).
        tau: Part of the run over which norms are smoothed by their median, in [0, 1); the authors'
            plots have 0.1.

    Raises:
        ValueError: There are fewer than two norms, one is not above 0 and finite, or another
            argument is out of range.

    Sources:
        Defazio et al., arXiv:2310.07831. The released code divides by the last weight instead of
        the largest rate, so only the shape of what it gives has a meaning.

    Example:
        >>> refined([1.0, 1.0, 1.0], power=SGD_L2)
        [1.0, 0.5, 0.0]
    """
    found = np.asarray(norms, dtype=np.float64)
    _check(found, power, tau)
    weights = smoothed(found, tau) ** -float(power)
    after = np.append(np.cumsum(weights[::-1])[::-1][1:], 0.0)
    rates = weights * after
    made: list[float] = (rates / rates.max()).tolist()
    return made


def smoothed(norms: Numbers, tau: float) -> Numbers:
    """Return the median over ``tau`` of the run around each step.

    Before the first step its norm is repeated; after the last, norms are mirrored.
    """
    half = int(tau * len(norms)) // 2
    if not half:
        return norms
    longer = np.pad(np.pad(norms, (half, 0), mode="edge"), (0, half), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(longer, 2 * half + 1)
    return np.asarray(np.median(windows, axis=1), dtype=np.float64)


def resampled(rates: Sequence[float], most: int = MOST) -> tuple[float, ...]:
    """Return a schedule as a table of at most so many values, at equal distances over the run.

    Between values it is linear: ``lr_schedule.interpolated`` reads it for a run of any length. They
    have six decimals, so that what is written into files is what was trained by.

    Example:
        >>> resampled([1.0, 0.5, 0.0], most=2)
        (1.0, 0.0)
    """
    steps = np.linspace(0.0, len(rates) - 1.0, min(most, len(rates)))
    made = np.interp(steps, np.arange(len(rates)), np.asarray(rates))
    return tuple((made / made.max()).round(6).tolist())


def _check(norms: Numbers, power: int, tau: float) -> None:
    if norms.ndim != 1 or len(norms) < 2:
        raise ValueError(f"norms must be of 2 steps or more, got shape {norms.shape}")
    wrong = ~(np.isfinite(norms) & (norms > 0.0))
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"norms must be above 0 and finite, got {norms[at]:g} at step {at}")
    if power not in (ADAM_L1, SGD_L2):
        raise ValueError(f"power must be {ADAM_L1} or {SGD_L2}, got {power!r}")
    if not (math.isfinite(tau) and 0.0 <= tau < 1.0):
        raise ValueError(f"tau must be in [0, 1), got {tau:g}")
