"""Use Optuna's Hyperband: like asha, but some trials skip the first rungs; for slow starters."""

from __future__ import annotations

from collections.abc import Iterable

from autotune.pruners.base import ask, powers
from autotune.pruners.ladder import ETA, Ladder, Losses
from autotune.studies.records import TrialRecord


def pruner(
    trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder
) -> tuple[TrialRecord, int] | None:
    """Ask Optuna's Hyperband, with one bracket per rung."""
    from optuna.pruners import HyperbandPruner

    longest = ETA ** (len(rungs.steps) - 1)
    brackets = HyperbandPruner(min_resource=1, max_resource=longest, reduction_factor=ETA)
    return ask(brackets, trials, losses, rungs, powers(ETA))
