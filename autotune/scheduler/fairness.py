"""When the searches of two optimizers are alike enough to compare what they found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from autotune.pruners.ladder import Ladder, ladder
from autotune.studies.records import Role, TrialRecord, TrialState

TENTH = 0.1  # part of what one optimizer spent on searching by which another may differ
ROUNDING = 1e-9  # tolerance when sums of full runs are compared

_BAD = frozenset({TrialState.DIVERGED, TrialState.FAILED})


def slack(spent: float, rung: float) -> float:
    """Return by how many full runs searches may differ: a tenth, or a rung where that is more."""
    return max(TENTH * spent, rung) + ROUNDING


def longest(rungs: Ladder) -> float:
    """Return the longest stretch from one rung to the next, in full runs."""
    places = [0, *(step for step in rungs.steps if step >= rungs.first)]
    return max(high - low for low, high in pairwise(places)) / rungs.steps[-1]


def charged(trial: TrialRecord, rungs: Ladder) -> int:
    """Return the steps that a trial counts for: one that goes wrong at least the first rung.

    If failures were free, a study could fail for ever.
    """
    return max(trial.step, rungs.first) if trial.state in _BAD else trial.step


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much was searched for one optimizer.

    Args:
        settings: How many were tried.
        runs: Full runs that this took.
        rung: The longest stretch between two rungs, in full runs.
        counted: Whether the budget is a number of settings.
    """

    settings: int = 0
    runs: float = 0.0
    rung: float = field(default=0.0, repr=False)
    counted: bool = field(default=False, repr=False)

    def __str__(self) -> str:
        """Write the settings and what they took."""
        noun = "setting" if self.settings == 1 else "settings"
        runs = f"{self.runs:.3g}"
        return f"{self.settings} {noun} in {runs} full {'run' if runs == '1' else 'runs'}"

    def like(self, other: Effort) -> bool:
        """Return whether two optimizers were searched alike."""
        if self.counted and self.settings == other.settings:
            return True
        most = max(self.runs, other.runs)
        return abs(self.runs - other.runs) <= slack(most, max(self.rung, other.rung))


def effort(
    trials: Iterable[TrialRecord], task: Mapping[str, Any], budget: Mapping[str, Any]
) -> Effort:
    """Return how much was searched in the trials of one study.

    Args:
        trials: All its trials.
        task: Facts of the task.
        budget: The limits, as a spec holds them.
    """
    searched = [trial for trial in trials if trial.role is Role.SEARCH]
    if not searched:
        return Effort()
    counted = budget.get("trials") is not None
    target = searched[0].target
    rungs = ladder(target, int(task.get("compare_from", 0)))
    rungs = rungs.from_safe() if counted else rungs
    return Effort(
        settings=len(searched),
        runs=sum(charged(trial, rungs) for trial in searched) / target,
        rung=longest(rungs),
        counted=counted,
    )
