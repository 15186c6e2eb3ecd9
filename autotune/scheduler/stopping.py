"""End a search early when many settings in a row did not take the lead.

Only with ``--patience``; without it a search spends its whole budget.
"""

from __future__ import annotations

from autotune.pruners.auto import leaders
from autotune.scheduler.study_state import StudyState
from autotune.studies.records import Role, TrialRecord, TrialState

UNDECIDED = frozenset({TrialState.WAITING, TrialState.RUNNING})


def reached(state: StudyState) -> bool:
    """Return whether ``patience`` settings were decided on since the leader was tried.

    The leader is the trial that went furthest, and of these the one with the lowest loss. Halving
    decides on open trials before another setting is tried.
    """
    patience = state.policy.budget.patience
    if patience is None:
        return False
    leader = _leader(state)
    return leader is not None and len(_since(state, leader)) >= patience


def why_stopped(state: StudyState, minutes: float | None) -> str | None:
    """Return why a study's search stopped early and what was left; None if it did not.

    Args:
        state: The study.
        minutes: Minutes left of the search; None if minutes are no limit.
    """
    leader = _leader(state)
    if leader is None or not reached(state):
        return None
    count = len(_since(state, leader))
    noun = "setting" if count == 1 else "settings in a row"
    return (
        f"stopped early: {count} {noun} did not beat trial {leader.number} "
        f"({_left(state, minutes)} left)"
    )


def _left(state: StudyState, minutes: float | None) -> str:
    budget = state.policy.budget
    parts = []
    if budget.trials is not None:
        parts.append(f"{budget.trials - len(state.of(Role.SEARCH))} of {budget.trials} settings")
    if budget.runs is not None:
        parts.append(f"{budget.runs - state.committed():.1f} of {budget.runs:g} full runs")
    if budget.minutes is not None and minutes is not None:
        parts.append(f"{minutes:.1f} of {budget.minutes:g} minutes")
    return " and ".join(parts)


def _leader(state: StudyState) -> TrialRecord | None:
    return next(iter(leaders(state.of(Role.SEARCH), state.losses, state.ladder, 1)), None)


def _since(state: StudyState, leader: TrialRecord) -> list[TrialRecord]:
    """Return the trials after the leader that are decided on."""
    searched = state.of(Role.SEARCH)
    return [t for t in searched if t.number > leader.number and t.state not in UNDECIDED]
