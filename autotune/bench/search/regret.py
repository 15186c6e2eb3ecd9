"""How good a recommendation is, on seeds that no method saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autotune.bench.search.table import Floats, Table
from autotune.errors import SpecError


@dataclass(frozen=True, kw_only=True)
class Judge:
    """The truth about every setting: its mean loss at full length over held-out seeds.

    Args:
        truth: Loss by setting; one that diverged on a held-out seed counts as the worst finite one.
        best: The lowest loss.
        scale: Difference between the median and the best setting.
    """

    truth: Floats
    best: float
    scale: float

    def regret(self, number: int) -> float:
        """Return how far a setting is from the best: 0 is the best of all, 1 the median."""
        return (float(self.truth[number]) - self.best) / self.scale


def floors(seen: Table, judge: Judge) -> list[float]:
    """Return for each seed the regret of the setting that is the best on this seed.

    The best of many settings on one seed is partly lucky, so this is not 0. Methods with a smaller
    regret can hardly be told apart on this table.
    """
    return [judge.regret(int(np.argmin(losses))) for losses in seen.losses[:, :, -1]]


def split(table: Table) -> tuple[Table, Judge]:
    """Return the half of the seeds that a search may see, and the judge with the other half."""
    if table.seeds < 2:
        raise SpecError(
            f"{table.name} must have at least 2 seeds, one to search and one to judge on, got 1"
        )
    seen = table.seeds // 2
    return table.only(range(seen)), judge(table.only(range(seen, table.seeds)))


def judge(table: Table) -> Judge:
    """Return the judge of a table."""
    truth = table.losses[:, :, -1].astype(np.float64).mean(axis=0)
    finite = np.isfinite(truth)
    if not finite.any():
        raise SpecError(f"{table.name} must have a setting that does not diverge, got none")
    worst, best = float(truth[finite].max()), float(truth[finite].min())
    truth = np.where(finite, truth, worst)
    scale = float(np.median(truth)) - best
    if scale <= 0:
        raise SpecError(
            f"{table.name} must have settings that differ: half of them end at the same "
            f"loss of {best:g} as the best"
        )
    return Judge(truth=truth, best=best, scale=scale)
