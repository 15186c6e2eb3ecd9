"""Why a process starts no further trial, worked out anew from what holds at that moment.

A reason that was kept could be out of date when a decision depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from autotune.scheduler.study_state import StudyState
from autotune.studies.records import Command, TrialState

# A search without any measured loss ends after so many trials of one of these states.
HOPELESS = {TrialState.FAILED: 3, TrialState.DIVERGED: 9}


class Reason(StrEnum):
    """Why a process starts nothing; the first that holds counts."""

    HALTED = "halted"  # this process is to end
    STOPPED = "stopped"  # all processes are told to end
    PAUSED = "paused"  # all processes are told to wait
    HOPELESS = "hopeless"  # nothing was ever measured
    LATE = "late"  # the minutes are over


# The process leaves; the search is not over.
LEAVING = frozenset({Reason.HALTED, Reason.STOPPED})


def reason(
    states: Sequence[StudyState], *, halted: bool, command: Command, late: bool
) -> Reason | None:
    """Return why a process starts nothing; None if it may start trials.

    Args:
        states: The search's studies.
        halted: Whether this process is to end.
        command: What the processes of the search were last told.
        late: Whether the minutes are over.
    """
    if halted:
        return Reason.HALTED
    if command is not Command.CONTINUE:
        return Reason.PAUSED if command is Command.PAUSE else Reason.STOPPED
    if hopeless(states):
        return Reason.HOPELESS
    return Reason.LATE if late else None


def hopeless(states: Sequence[StudyState]) -> bool:
    """Return whether many trials failed or diverged and no other ever had a loss."""
    if any(map(_measured, states)):  # looked at first: of most searches the first trial is
        return False
    trials = [t for state in states for t in state.trials.values()]
    return any(sum(t.state is s for t in trials) >= n for s, n in HOPELESS.items())


def _measured(state: StudyState) -> bool:
    """Return whether a trial that did not fail has a loss."""
    failed = TrialState.FAILED
    return any(
        curve and state.trials[trial].state is not failed for trial, curve in state.losses.items()
    )
