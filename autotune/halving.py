"""Successive halving without rungs to wait at: promote whoever is among the best third so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from autotune.studies.records import TrialRecord, TrialState

ETA = 3
RUNGS = 4
SAFE_RUNG = 1  # no trial is judged before it: a shorter run tells nothing about the winner

Losses = Mapping[int, Mapping[int, float]]  # trial id -> step -> validation loss


def ladder(target: int) -> tuple[int, ...]:
    """Return the steps at which a trial may pause, the last being the full schedule."""
    return tuple(sorted({max(1, round(target / ETA**k)) for k in range(RUNGS)}))


def first_stop(rungs: tuple[int, ...]) -> int:
    """Return the step every trial runs to before it is compared with others."""
    return rungs[min(SAFE_RUNG, len(rungs) - 1)]


def promotable(
    trials: Iterable[TrialRecord], losses: Losses, rungs: tuple[int, ...]
) -> tuple[TrialRecord, int] | None:
    """Return the paused trial to take further and the step to take it to.

    At each rung, from the highest down, the best floor(n / eta) of the n trials that reached it are
    promoted; a diverged trial counts as one that reached every rung with the worst loss.
    """
    everyone = list(trials)
    floor = rungs.index(first_stop(rungs))
    for k in range(len(rungs) - 2, floor - 1, -1):
        reached = [t for t in everyone if _loss_at(t, losses, rungs[k]) is not None]
        reached.sort(key=lambda t: (_loss_at(t, losses, rungs[k]), t.number))
        for trial in reached[: len(reached) // ETA]:
            if trial.state is TrialState.PAUSED and trial.step == rungs[k]:
                return trial, rungs[k + 1]
    return None


def _loss_at(trial: TrialRecord, losses: Losses, step: int) -> float | None:
    if trial.state is TrialState.DIVERGED:
        return math.inf
    return losses.get(trial.id, {}).get(step)


def leaders(
    trials: Iterable[TrialRecord], losses: Losses, rungs: tuple[int, ...], count: int
) -> list[TrialRecord]:
    """Return the ``count`` most promising trials: the furthest, then the lowest loss there."""
    alive = [t for t in trials if t.state in {TrialState.PAUSED, TrialState.COMPLETE}]
    ranked = []
    for trial in alive:
        measured = [step for step in rungs if step in losses.get(trial.id, {})]
        if measured:
            ranked.append((-measured[-1], losses[trial.id][measured[-1]], trial.number, trial))
    return [entry[-1] for entry in sorted(ranked, key=lambda entry: entry[:3])[:count]]


def highest_rung(losses: Losses, rungs: tuple[int, ...], needed: int) -> int:
    """Return the longest rung that at least ``needed`` trials reached, else the first compared."""
    for step in reversed(rungs):
        if sum(step in curve for curve in losses.values()) >= needed:
            return step
    return first_stop(rungs)
