"""What is measured of a trial's gradients, where its search asks for it."""

from __future__ import annotations

from autotune.studies.records import Role, TrialRecord
from autotune.training.noise import places


def norms(asked: bool, trial: TrialRecord) -> bool:
    """Return whether to keep the norms of each step; those of longer runs serve nobody."""
    return asked and trial.role is not Role.VALIDATE


def noise(asked: bool, trial: TrialRecord) -> tuple[int, ...]:
    """Return the steps, from 0, at which to measure noise: judging runs are few, and whole."""
    return places(trial.target) if asked and trial.role is Role.JUDGE else ()
