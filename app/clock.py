"""When something was measured: the trials' order, what a search had spent, or the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType

from autotune.app import words
from autotune.studies.records import Point, Role, TrialRecord, TrialState

ROUNDED = 1 + 1e-6
TRIAL, COST, CLOCK = "trial", "cost", "clock"
STEP, SECONDS = "step", "time"
# What a search is drawn against, and what a curve is, as axes say it.
SEARCH = MappingProxyType(
    {
        TRIAL: "trial",
        COST: "cost of the search (full runs)",
        CLOCK: "time since the first trial began (minutes)",
    }
)
SPENDING = MappingProxyType({key: SEARCH[key] for key in (COST, CLOCK)})
CURVE = MappingProxyType({STEP: "step", SECONDS: "training time (s)"})


def hover(against: str) -> str:
    """Return how a hover text says where on a curve's axis it is."""
    return "step %{x}" if against == STEP else "%{x:.3~g} s"


def searched(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials of the search stage in the order in which they ended."""
    return sorted((trial for trial in trials if trial.role is Role.SEARCH), key=_ended)


def dated(trials: Sequence[TrialRecord], ended: Mapping[int, datetime]) -> tuple[TrialRecord, ...]:
    """Return trials, the stopped ones as of when they last ran.

    What is paused when a search ends is stopped there and then, all of it in one moment.

    Args:
        trials: Of a study.
        ended: When the last attempt at each of them ended, by trial id.
    """
    return tuple(
        replace(trial, updated=ended.get(trial.id, trial.updated))
        if trial.state is TrialState.STOPPED
        else trial
        for trial in trials
    )


def _ended(trial: TrialRecord) -> tuple[float, int]:
    return (trial.updated.timestamp() if trial.updated else 0.0, trial.number)


def places(trials: Sequence[TrialRecord], against: str) -> Mapping[int, float]:
    """Return where each search trial stands on an axis, by its number.

    Args:
        trials: Of a study.
        against: ``TRIAL``, ``COST`` (spent when it ended) or ``CLOCK`` (when it ended; trials of
            which that is not known are left out).
    """
    ordered = searched(trials)
    if against == TRIAL:
        return {trial.number: trial.number for trial in ordered}
    if against == COST:
        spent, found = 0.0, {}
        for trial in ordered:
            spent += trial.step / trial.target
            found[trial.number] = spent
        return found
    begun = [words.aware(trial.created) for trial in trials if trial.created]
    return {
        trial.number: (words.aware(trial.updated) - min(begun)).total_seconds() / 60
        for trial in ordered
        if trial.updated and begun
    }


def elapsed(trial: TrialRecord, points: Sequence[Point]) -> list[float]:
    """Return the seconds that a trial had trained at each of its points.

    Every attempt counts from its own beginning. A point is of a new one where time went back, or
    where that fits the pace of the trial better and its time as a whole.
    """
    pace, before, step, last = trial.seconds / max(1, trial.step), 0.0, 0, 0.0
    found = []
    for point in points:
        steps = max(1, point.step - step)
        anew, on = point.seconds / steps, (point.seconds - last) / steps
        fits = before + last + point.seconds <= trial.seconds * ROUNDED
        if on < 0 or (fits and abs(anew - pace) < abs(on - pace)):
            before += last
        step, last = point.step, point.seconds
        found.append(before + last)
    return found
