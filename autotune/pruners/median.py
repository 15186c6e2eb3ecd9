"""Use Optuna's median rule: a trial better than half of the finished ones goes on; cautious."""

from __future__ import annotations

from collections.abc import Iterable

from autotune.pruners.base import ask, steps
from autotune.pruners.ladder import Ladder, Losses
from autotune.studies.records import TrialRecord


def pruner(
    trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder
) -> tuple[TrialRecord, int] | None:
    """Ask Optuna's median pruner, which lets the first five trials run to their end."""
    from optuna.pruners import MedianPruner

    return ask(MedianPruner(), trials, losses, rungs, steps)
