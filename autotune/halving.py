"""Successive halving without rungs to wait at: promote whoever is among the best third so far.

Where the best finished trial was not among them at a rung, whoever is as good there goes on too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from autotune.studies.records import TrialRecord, TrialState

ETA = 3
RUNGS = 4
SAFE_RUNG = 1  # before it, losses tell bad settings from good ones but rank the good ones poorly
EARLY_ETA = 2.5  # so more go on from there
MOST = 2 / 3  # of a rung's trials go on, however late the best finished one came forward
ENOUGH = 6  # trials at a rung before it can be said to mislead

ALIVE = frozenset({TrialState.PAUSED, TrialState.COMPLETE})

Losses = Mapping[int, Mapping[int, float]]  # trial id -> step -> validation loss


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The steps at which a trial may pause, the last being the full schedule.

    Args:
        steps: The rungs, ascending.
        first: The step every trial runs to before it is compared with others.
        safe: The rung from which on losses are trusted to rank settings.
    """

    steps: tuple[int, ...]
    first: int
    safe: int = 0

    def above(self, step: int) -> int:
        """Return where a trial that took ``step`` steps pauses next, or the full schedule."""
        after = [rung for rung in self.steps if rung > step]
        return max(after[0] if after else self.steps[-1], self.first)

    def promoted(self, step: int, count: int) -> int:
        """Return how many of ``count`` trials that reached a rung go on from there."""
        return int(count / EARLY_ETA) if step < self.safe else count // ETA

    def patient(self) -> Ladder:
        """Return the same rungs with nothing compared before the safe one."""
        return replace(self, first=max(self.first, self.safe))

    def whole(self) -> Ladder:
        """Return the same rungs with nothing compared before the end."""
        return replace(self, first=self.steps[-1])


def ladder(target: int, compare_from: int = 0) -> Ladder:
    """Return the rungs of a schedule of ``target`` steps.

    ``compare_from`` is a task's own knowledge of how long a run has to be before its loss ranks
    settings; without it, settings are compared from the shortest rung, cautiously.
    """
    steps = sorted({max(1, round(target / ETA**k)) for k in range(RUNGS)})
    if not compare_from:
        safe = steps[min(SAFE_RUNG, len(steps) - 1)]
        return Ladder(steps=tuple(steps), first=steps[0], safe=safe)
    kept = {min(compare_from, target), *(step for step in steps if step > compare_from)}
    return Ladder(steps=tuple(sorted(kept)), first=min(kept))


def rungs_of(facts: Mapping[str, Any]) -> Ladder:
    """Return the rungs of a task."""
    return ladder(int(facts["steps"]), int(facts.get("compare_from", 0)))


def promotable(
    trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder
) -> tuple[TrialRecord, int] | None:
    """Return the paused trial to take further and the step to take it to.

    At each rung, from the highest down, the best floor(n / eta) of the n trials that reached it are
    promoted, and a few more before the safe rung; a diverged trial counts as one that reached every
    rung with the worst loss. Those as good there as the trial that ended best are promoted as well,
    up to two thirds: where good settings start slowly, the best third would leave them behind.
    """
    everyone = list(trials)
    for rung in reversed([step for step in rungs.steps[:-1] if step >= rungs.first]):
        order = ranking(everyone, losses, rung)
        count = max(rungs.promoted(rung, len(order)), _as_good_as_the_best(order))
        for trial in order[:count]:
            if trial.state is TrialState.PAUSED and trial.step == rung:
                return trial, rungs.above(rung)
    return None


def misleading(trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder) -> int | None:
    """Return a trusted rung where the trial that ended best was not in the best third, if any.

    Then halving finds good settings only by chance: the best there are may be those it stopped.
    """
    everyone, trusted = list(trials), max(rungs.first, rungs.safe)
    for rung in [step for step in rungs.steps[:-1] if step >= trusted]:
        order = ranking(everyone, losses, rung)
        if len(order) < ENOUGH:
            continue
        if _as_good_as_the_best(order) > rungs.promoted(rung, len(order)):
            return rung
    return None


def ranking(trials: Iterable[TrialRecord], losses: Losses, rung: int) -> list[TrialRecord]:
    """Return who reached a rung, the lowest loss there first; what diverged is worst."""
    diverged = TrialState.DIVERGED  # looking it up for every trial takes as long as all the rest
    ranked = []
    for trial in trials:
        if trial.state is diverged:
            ranked.append((math.inf, trial.number, trial))
        elif rung in (curve := losses.get(trial.id, {})):
            ranked.append((curve[rung], trial.number, trial))
    return [trial for _, _, trial in sorted(ranked)]  # no two have the same number


def _as_good_as_the_best(order: list[TrialRecord]) -> int:
    """Return how many of a rung's trials were no worse there than the one that ended best."""
    ended = [
        (trial.loss, place)
        for place, trial in enumerate(order, start=1)
        if trial.state is TrialState.COMPLETE and trial.loss is not None
    ]
    return min(min(ended)[1], int(MOST * len(order))) if ended else 0


def leaders(
    trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder, count: int
) -> list[TrialRecord]:
    """Return the ``count`` most promising trials: the furthest, then the lowest loss there."""
    alive = [t for t in trials if t.state in ALIVE]
    found: dict[int, TrialRecord] = {}
    for rung in reversed(rungs.steps):  # asked for with every decision: most got nowhere near it
        there = [t for t in alive if rung in losses.get(t.id, {})]
        there.sort(key=lambda t: (losses[t.id][rung], t.number))
        found.update({t.id: t for t in there if t.id not in found})
        if len(found) >= count:
            break
    return list(found.values())[:count]


def highest_rung(losses: Losses, rungs: Ladder, needed: int) -> int:
    """Return the longest rung that at least ``needed`` trials reached, else the first compared."""
    for step in reversed(rungs.steps):
        if sum(step in curve for curve in losses.values()) >= needed:
            return step
    return rungs.first
