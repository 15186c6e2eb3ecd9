"""When a search has stopped getting better: many settings in a row that did not take the lead.

Asked for with ``--patience``; on its own a search spends what it was given.
"""

from __future__ import annotations

from autotune.pruners.auto import leaders
from autotune.scheduler.study_state import StudyState
from autotune.studies.records import Role, TrialRecord, TrialState

UNDECIDED = frozenset({TrialState.WAITING, TrialState.RUNNING})


def reached(state: StudyState) -> bool:
    """Say whether as many settings as one has patience for were tried since the leader was.

    The leader went furthest and lost least there. One that halving may still take further is
    decided on before another is tried.
    """
    patience, leader = state.policy.budget.patience, _leader(state)
    if patience is None or leader is None:
        return False
    return len(_since(state, leader)) >= patience


def told(state: StudyState, minutes: float | None) -> str | None:
    """Return a sentence on why a study's search ended, and what it left; None if otherwise.

    Args:
        state: The study.
        minutes: That are left of the search, if they limit it.
    """
    leader = _leader(state)
    if leader is None or not reached(state):
        return None
    count = len(_since(state, leader))
    noun = "setting" if count == 1 else "settings in a row"
    return (
        f"{count} {noun} did not take the lead from trial {leader.number}, so no other was tried, "
        f"with {_left(state, minutes)} left"
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
    """Return the settings tried after the leader and decided on."""
    searched = state.of(Role.SEARCH)
    return [t for t in searched if t.number > leader.number and t.state not in UNDECIDED]
