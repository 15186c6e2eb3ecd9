"""Run every trial to its end; for short tasks, or where early losses say nothing."""

from __future__ import annotations

from collections.abc import Iterable

from autotune.pruners.base import at_rung, furthest
from autotune.pruners.ladder import Ladder, Losses
from autotune.studies.records import TrialRecord


def pruner(
    trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder
) -> tuple[TrialRecord, int] | None:
    """Continue every trial."""
    return furthest([trial for trial in trials if at_rung(trial, losses, rungs)], rungs)
