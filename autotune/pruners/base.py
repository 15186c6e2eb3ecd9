"""The interface of pruners, and an adapter for Optuna's pruners."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from autotune.pruners.ladder import Ladder, Losses
from autotune.samplers.base import unwarned
from autotune.studies.records import TrialRecord, TrialState

Resource = Callable[[int, int], int]  # a rung's index and its steps -> Optuna's step


class Pruner(Protocol):
    """Decides which paused trial goes on."""

    def __call__(
        self, trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder
    ) -> tuple[TrialRecord, int] | None:
        """Return the paused trial to continue and the step to train it to; None to promote nothing.

        A trial that is not chosen stays paused and is decided on again when another trial got
        further. The result depends only on the arguments.
        """


def furthest(paused: Iterable[TrialRecord], rungs: Ladder) -> tuple[TrialRecord, int] | None:
    """Return the paused trial that went furthest, the oldest of equals, and its next rung."""
    first = min(paused, key=lambda trial: (-trial.step, trial.number), default=None)
    return (first, rungs.above(first.step)) if first else None


def at_rung(trial: TrialRecord, losses: Losses, rungs: Ladder) -> bool:
    """Return whether a trial is paused at a rung at which trials are compared."""
    measured = trial.step in losses.get(trial.id, {})
    waits = trial.state is TrialState.PAUSED and trial.step in rungs.steps[:-1]
    return waits and measured and trial.step >= rungs.first


def powers(eta: int) -> Resource:
    """Count rung k as ``eta**k``, because real rungs are rounded to whole steps."""
    return lambda place, step: eta**place


def steps(place: int, step: int) -> int:
    """Count a rung as its steps."""
    return step


def ask(
    pruner: Any, trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder, resource: Resource
) -> tuple[TrialRecord, int] | None:
    """Return the trial that an Optuna pruner lets continue.

    All trials are replayed to a new Optuna study, in the order of their numbers.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with unwarned():
        # Hyperband assigns trials to brackets by the study's name, so the name is fixed.
        study = optuna.create_study(study_name="autotune", pruner=pruner)
        ordered = sorted(trials, key=lambda trial: trial.number)
        going = [t for t in ordered if _goes_on(study, t, losses.get(t.id, {}), rungs, resource)]
    return furthest([t for t in going if at_rung(t, losses, rungs)], rungs)


def _goes_on(
    study: Any, trial: TrialRecord, curve: Mapping[int, float], rungs: Ladder, resource: Resource
) -> bool:
    """Report a trial's losses and return whether the pruner lets it continue."""
    asked, pruned = study.ask(), False
    for place, step in enumerate(rungs.steps):
        loss = _loss(trial, curve, step)
        if loss is None:
            continue
        asked.report(loss, resource(place, step))
        pruned = asked.should_prune()
    if trial.state is TrialState.FAILED:
        study.tell(asked, state=_state("FAIL"))
    elif trial.state in {TrialState.COMPLETE, TrialState.DIVERGED}:
        study.tell(asked, math.inf if trial.loss is None else trial.loss)
    return not pruned


def _loss(trial: TrialRecord, curve: Mapping[int, float], step: int) -> float | None:
    """Return a loss at a rung; a diverged trial has an infinite one at every rung."""
    if trial.state is TrialState.DIVERGED:
        return curve.get(step, math.inf)
    return curve.get(step)


def _state(name: str) -> Any:
    from optuna.trial import TrialState as OptunaState

    return OptunaState[name]
