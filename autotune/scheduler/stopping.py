"""When a search has stopped getting better: many settings in a row that did not take the lead.

Asked for with ``--patience``; on its own a search spends what it was given.
"""

from __future__ import annotations

from autotune.pruners.auto import leaders
from autotune.scheduler.study_state import Ledger
from autotune.studies.records import Role, TrialRecord, TrialState
from autotune.studies.spec import SearchSpec

UNDECIDED = frozenset({TrialState.WAITING, TrialState.RUNNING})


def reached(ledger: Ledger, spec: SearchSpec) -> bool:
    """Say whether as many settings as one has patience for were tried since the leader was.

    The leader went furthest and lost least there. One that halving may still take further is
    decided on before another is tried.
    """
    patience, leader = spec.budget.patience, _leader(ledger)
    if patience is None or leader is None:
        return False
    return len(_since(ledger, leader)) >= patience


def told(ledger: Ledger, spec: SearchSpec, minutes: float | None) -> str | None:
    """Return a sentence on why a study's search ended, and what it left; None if otherwise.

    Args:
        ledger: The study.
        spec: What was asked for.
        minutes: That are left of the search, if they limit it.
    """
    leader = _leader(ledger)
    if leader is None or not reached(ledger, spec):
        return None
    count = len(_since(ledger, leader))
    noun = "setting" if count == 1 else "settings in a row"
    return (
        f"{count} {noun} did not take the lead from trial {leader.number}, so no other was tried, "
        f"with {_left(ledger, spec, minutes)} left"
    )


def _left(ledger: Ledger, spec: SearchSpec, minutes: float | None) -> str:
    budget = spec.budget.resolved
    parts = []
    if budget.trials is not None:
        parts.append(f"{budget.trials - len(ledger.of(Role.SEARCH))} of {budget.trials} settings")
    if budget.runs is not None:
        parts.append(f"{budget.runs - ledger.committed():.1f} of {budget.runs:g} full runs")
    if budget.minutes is not None and minutes is not None:
        parts.append(f"{minutes:.1f} of {budget.minutes:g} minutes")
    return " and ".join(parts)


def _leader(ledger: Ledger) -> TrialRecord | None:
    return next(iter(leaders(ledger.of(Role.SEARCH), ledger.losses, ledger.ladder, 1)), None)


def _since(ledger: Ledger, leader: TrialRecord) -> list[TrialRecord]:
    """Return the settings tried after the leader and decided on."""
    searched = ledger.of(Role.SEARCH)
    return [t for t in searched if t.number > leader.number and t.state not in UNDECIDED]
