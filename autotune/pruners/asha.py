"""Use Optuna's ASHA: a trial in the best third of its rung so far goes on; the usual baseline."""

from __future__ import annotations

from collections.abc import Iterable

from autotune.pruners.base import ask, powers
from autotune.pruners.ladder import ETA, Ladder, Losses
from autotune.studies.records import TrialRecord


def pruner(
    trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder
) -> tuple[TrialRecord, int] | None:
    """Ask Optuna's successive halving, with our rungs."""
    from optuna.pruners import SuccessiveHalvingPruner

    halving = SuccessiveHalvingPruner(min_resource=1, reduction_factor=ETA)
    return ask(halving, trials, losses, rungs, powers(ETA))
