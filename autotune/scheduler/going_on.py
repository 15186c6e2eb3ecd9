"""Decide at a rung whether a trial that cannot pause goes on: now, and for good.

As asynchronous halving without pauses does (Li et al., arXiv:1810.05934; Optuna's pruners): a trial
whose worker cannot pause has to go on or end while the others are still on their way. What ended is
compared with those that come later, and no step is trained twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from autotune.pruners.auto import leaders, ranking
from autotune.pruners.base import Pruner
from autotune.registry import load
from autotune.scheduler import full_runs, stages
from autotune.scheduler.stages import Affordable
from autotune.scheduler.study_state import StudyState
from autotune.studies.records import Role, TrialRecord, TrialState


def next_stop(
    state: StudyState, trial: TrialRecord, step: int, affordable: Affordable
) -> int | None:
    """Return the step to which a running trial trains on from a rung; None: it is over.

    Args:
        state: Its study, with the trial's loss at the rung.
        trial: A trial of the search.
        step: The rung.
        affordable: Whether the study can pay full runs now, and others later.
    """
    paused = replace(trial, state=TrialState.PAUSED, step=step, loss=state.losses[trial.id][step])
    # What else waits at a rung is not asked about.
    supposed = _with(state, lambda one: paused if one.id == trial.id else _over(one))
    if _promoted(supposed, paused):
        stop = stages.rungs_of(state, trial).above(step)
        needed = stages.closing(supposed, paused, stop) + stages.reserved(state)
        if affordable((stop - step) / state.target, needed):
            return stop
    return state.target if _closes(state, supposed, paused, affordable) else None


def ended(step: int, target: int) -> str:
    """Say why a trial that could not pause is over at a rung."""
    return f"at step {step} of {target}, where it was not among the best and could not pause"


def _promoted(supposed: StudyState, paused: TrialRecord) -> bool:
    """Return whether the pruner lets a trial go on, of all that were at its rung so far.

    Before halving may promote any trial, at so few that it would wait for more, the best goes on:
    else the first ones would all end at their first rung.
    """
    trials, losses = supposed.of(Role.SEARCH), supposed.losses
    if supposed.policy.pruner == full_runs.HALVING:
        best = ranking(trials, losses, paused.step)[0]
        if best.id == paused.id:
            return True
    pruner: Pruner = load("autotune.pruners", supposed.policy.pruner)
    found = pruner(trials, losses, supposed.ladder)
    return found is not None and found[0].id == paused.id


def _closes(
    state: StudyState, supposed: StudyState, paused: TrialRecord, affordable: Affordable
) -> bool:
    """Return whether a trial runs to its end although it is not promoted.

    Where no further setting can be tried, finalists may be missing: only trials at full length can
    be some. A search that can pause then takes its leaders to the end, and pays for it as here.
    """
    if stages.may_try(state, affordable) and stages.has_more(state):
        return False
    ends = (state.stops.get(one.id) for one in state.running() if one.id != paused.id)
    count = state.policy.finalists - sum(stop == state.target for stop in ends)
    best = leaders(supposed.of(Role.SEARCH), supposed.losses, supposed.ladder, count)
    if all(one.id != paused.id for one in best):
        return False
    # One finalist is needed in any case.
    others = any(one.state is TrialState.COMPLETE for one in best)
    cost = (state.target - paused.step) / state.target
    return affordable(cost, stages.finals(state) if others else 0.0)


def _over(trial: TrialRecord) -> TrialRecord:
    paused = trial.state is TrialState.PAUSED
    return replace(trial, state=TrialState.STOPPED) if paused else trial


def _with(state: StudyState, changed: Callable[[TrialRecord], TrialRecord]) -> StudyState:
    """Return a study with other records of its search's trials."""
    searched = [changed(trial) for trial in state.of(Role.SEARCH)]
    return replace(state, by_role={**state.by_role, Role.SEARCH: searched})
