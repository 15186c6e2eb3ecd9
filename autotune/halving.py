"""Successive halving without rungs to wait at: promote whoever is among the best third so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from autotune.studies.records import TrialRecord, TrialState

ETA = 3
RUNGS = 4
SAFE_RUNG = 1  # no trial is judged before it, unless the task's own trials say so
OPENING = 9  # settings that run to it in any case, and show what a shorter run is worth
FEWEST = 6  # of them, where others diverged
AGREEING = 0.7  # of their pairs, in the same order at both rungs: a Kendall's tau of 0.4

Losses = Mapping[int, Mapping[int, float]]  # trial id -> step -> validation loss


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The steps at which a trial may pause, the last being the full schedule.

    Args:
        steps: The rungs, ascending.
        first: The step every trial runs to before it is compared with others.
    """

    steps: tuple[int, ...]
    first: int

    def above(self, step: int) -> int:
        """Return where a trial that took ``step`` steps pauses next, or the full schedule."""
        after = [rung for rung in self.steps if rung > step]
        return max(after[0] if after else self.steps[-1], self.first)


def ladder(target: int, compare_from: int = 0) -> Ladder:
    """Return the rungs of a schedule of ``target`` steps.

    ``compare_from`` is a task's own knowledge of how long a run has to be before its loss ranks
    settings; without it, that is the second rung.
    """
    steps = sorted({max(1, round(target / ETA**k)) for k in range(RUNGS)})
    if not compare_from:
        return Ladder(steps=tuple(steps), first=steps[min(SAFE_RUNG, len(steps) - 1)])
    kept = {min(compare_from, target), *(step for step in steps if step > compare_from)}
    return Ladder(steps=tuple(sorted(kept)), first=min(kept))


def rungs_of(facts: Mapping[str, Any]) -> Ladder:
    """Return the rungs of a task."""
    return ladder(int(facts["steps"]), int(facts.get("compare_from", 0)))


def opened(ladder: Ladder, curves: Iterable[Mapping[int, float]]) -> Ladder:
    """Return the rungs compared from the shortest, where its order of settings is worth something.

    ``curves`` are the losses by step of the first settings. On some tasks the shortest rung ranks
    settings nearly as the next one does, and comparing there saves most of the cost; on others it
    prefers what loses later.
    """
    shortest = ladder.steps[0]
    pairs = [(c[shortest], c[ladder.first]) for c in curves if {shortest, ladder.first} <= c.keys()]
    both = list(combinations(pairs, 2))
    alike = sum((a[0] - b[0]) * (a[1] - b[1]) > 0 for a, b in both)
    if len(pairs) < FEWEST or alike < AGREEING * len(both):
        return ladder
    return Ladder(steps=ladder.steps, first=shortest)


def promotable(
    trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder
) -> tuple[TrialRecord, int] | None:
    """Return the paused trial to take further and the step to take it to.

    At each rung, from the highest down, the best floor(n / eta) of the n trials that reached it are
    promoted; a diverged trial counts as one that reached every rung with the worst loss.
    """
    everyone = list(trials)
    for rung in reversed([step for step in rungs.steps[:-1] if step >= rungs.first]):
        ranked = [
            (loss, t.number, t) for t in everyone if (loss := _loss(t, losses, rung)) is not None
        ]
        ranked.sort(key=lambda entry: entry[:2])
        for _, _, trial in ranked[: len(ranked) // ETA]:
            if trial.state is TrialState.PAUSED and trial.step == rung:
                return trial, rungs.above(rung)
    return None


def _loss(trial: TrialRecord, losses: Losses, step: int) -> float | None:
    if trial.state is TrialState.DIVERGED:
        return math.inf
    return losses.get(trial.id, {}).get(step)


def leaders(
    trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder, count: int
) -> list[TrialRecord]:
    """Return the ``count`` most promising trials: the furthest, then the lowest loss there."""
    alive = [t for t in trials if t.state in {TrialState.PAUSED, TrialState.COMPLETE}]
    ranked = []
    for trial in alive:
        measured = [step for step in rungs.steps if step in losses.get(trial.id, {})]
        if measured:
            ranked.append((-measured[-1], losses[trial.id][measured[-1]], trial.number, trial))
    return [entry[-1] for entry in sorted(ranked, key=lambda entry: entry[:3])[:count]]


def highest_rung(losses: Losses, rungs: Ladder, needed: int) -> int:
    """Return the longest rung that at least ``needed`` trials reached, else the first compared."""
    for step in reversed(rungs.steps):
        if sum(step in curve for curve in losses.values()) >= needed:
            return step
    return rungs.first
