"""The one seam of pruners, and the way into it for any pruner of Optuna's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from autotune.pruners.ladder import Ladder, Losses
from autotune.samplers.base import unwarned
from autotune.studies.records import TrialRecord, TrialState

Resource = Callable[[int, int], int]  # a rung's place and its steps -> what a pruner is told


class Pruner(Protocol):
    """Decides which paused trial goes on."""

    def __call__(
        self, trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder
    ) -> tuple[TrialRecord, int] | None:
        """Return the paused trial to take further and the step to take it to.

        A trial that is passed over stays paused, and is decided on again whenever one of the study
        got further. The answer depends on nothing but the arguments.
        """


def furthest(paused: Iterable[TrialRecord], rungs: Ladder) -> tuple[TrialRecord, int] | None:
    """Return the trial nearest to its end, the oldest of several, and its next rung."""
    first = min(paused, key=lambda trial: (-trial.step, trial.number), default=None)
    return (first, rungs.above(first.step)) if first else None


def at_rung(trial: TrialRecord, losses: Losses, rungs: Ladder) -> bool:
    """Say whether a trial waits at a rung where trials are compared."""
    measured = trial.step in losses.get(trial.id, {})
    waits = trial.state is TrialState.PAUSED and trial.step in rungs.steps[:-1]
    return waits and measured and trial.step >= rungs.first


def powers(eta: int) -> Resource:
    """Count a rung as a power of ``eta``: a schedule's thirds are rounded to whole steps."""
    return lambda place, step: eta**place


def steps(place: int, step: int) -> int:
    """Count a rung as the steps that it is."""
    return step


def ask(
    pruner: Any, trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder, resource: Resource
) -> tuple[TrialRecord, int] | None:
    """Return the trial that one of Optuna's pruners lets go on.

    Trials report in the order of their numbers, as if each had been run once those before it were
    where they are now: what a pruner notes of a trial it notes anew each time.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with unwarned():
        # Hyperband deals trials to its brackets by the study's name.
        study = optuna.create_study(study_name="autotune", pruner=pruner)
        ordered = sorted(trials, key=lambda trial: trial.number)
        going = [t for t in ordered if _goes_on(study, t, losses.get(t.id, {}), rungs, resource)]
    return furthest([t for t in going if at_rung(t, losses, rungs)], rungs)


def _goes_on(
    study: Any, trial: TrialRecord, curve: Mapping[int, float], rungs: Ladder, resource: Resource
) -> bool:
    """Report a trial as far as it got, and return the last answer."""
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
    """Return a loss at a rung; what diverged reached every rung with the worst."""
    if trial.state is TrialState.DIVERGED:
        return curve.get(step, math.inf)
    return curve.get(step)


def _state(name: str) -> Any:
    from optuna.trial import TrialState as OptunaState

    return OptunaState[name]
