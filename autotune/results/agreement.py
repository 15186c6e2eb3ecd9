"""How far two orders of the same settings agree: rank correlations with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune.results.intervals import CONFIDENCE

if TYPE_CHECKING:
    from numpy import ndarray

FEWEST = 4  # settings for a rank correlation
_DRAWS = 2000
_SEED = 0  # equal losses give equal intervals


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """A rank correlation, -1 to 1, and the interval of its bootstrap over settings.

    The ends are None where every draw had the same order, which is no certainty.
    """

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """Write the correlation and its interval."""
        if self.low is None or self.high is None:
            return f"{self.value:+.2f} (the same in every draw, so no interval)"
        interval = f"{CONFIDENCE:.0%} interval {self.low:+.2f} to {self.high:+.2f}"
        return f"{self.value:+.2f} ({interval})"


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well the order of settings in the search agrees with their order in a longer run.

    Args:
        settings: How many there are.
        kendall: Kendall's tau-b: of two settings, how much likelier the same one is ahead.
        spearman: Spearman's rank correlation.
    """

    settings: int
    kendall: Correlation
    spearman: Correlation

    def __str__(self) -> str:
        """Say what the correlations are."""
        return (
            f"over {self.settings} settings, the order in the search and in the longer run agree "
            f"with Kendall's tau {self.kendall}, Spearman's rho {self.spearman}"
        )


def agreement(short: Sequence[float], long: Sequence[float]) -> Agreement | None:
    """Return how the orders of two columns of losses agree.

    Args:
        short: Losses in the search.
        long: Losses of the same settings in the longer run; infinite for one that diverged.

    Returns:
        None for fewer than four settings, or where all losses of a column are equal.
    """
    if len(short) < FEWEST or any(len(set(column)) == 1 for column in (short, long)):
        return None
    import numpy as np
    from scipy.stats import rankdata

    ranks = np.array([rankdata(column) for column in (short, long)])
    chosen = np.random.default_rng(_SEED).integers(0, len(short), size=(_DRAWS, len(short)))
    drawn = np.concatenate([np.arange(len(short))[None], chosen])
    one, other = ranks[0][drawn], ranks[1][drawn]
    return Agreement(
        settings=len(short),
        kendall=_correlation(_kendall(one, other)),
        spearman=_correlation(_pearson(rankdata(one, axis=1), rankdata(other, axis=1))),
    )


def _correlation(values: ndarray) -> Correlation:
    """Return the first value with the interval of the others; a draw of one setting has none."""
    import numpy as np

    tail = (1 - CONFIDENCE) / 2
    if np.nanmin(values) == np.nanmax(values):
        return Correlation(value=float(values[0]), low=None, high=None)
    low, high = np.nanquantile(values[1:], [tail, 1 - tail])
    return Correlation(value=float(values[0]), low=float(low), high=float(high))


def _kendall(one: ndarray, other: ndarray) -> ndarray:
    """Return tau-b of each row: tied pairs count for neither order."""
    import numpy as np

    signs = [np.sign(each[:, :, None] - each[:, None, :]) for each in (one, other)]
    both = (signs[0] * signs[1]).sum(axis=(1, 2))
    return _ratio(both, np.abs(signs[0]).sum(axis=(1, 2)) * np.abs(signs[1]).sum(axis=(1, 2)))


def _pearson(one: ndarray, other: ndarray) -> ndarray:
    one, other = (each - each.mean(axis=1, keepdims=True) for each in (one, other))
    return _ratio((one * other).sum(axis=1), (one**2).sum(axis=1) * (other**2).sum(axis=1))


def _ratio(product: ndarray, squares: ndarray) -> ndarray:
    """Return a product over the root of the squares; not a number where there are none."""
    import numpy as np

    root = np.sqrt(np.where(squares > 0, squares, np.nan))
    found: ndarray = product / root
    return found
