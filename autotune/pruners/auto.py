"""Let the best third of each rung go on, and more where early losses mislead; the default.

Where the best finished trial was outside that third at a rung, all as good as it go on there too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from autotune.pruners.ladder import Ladder, Losses
from autotune.studies.records import TrialRecord, TrialState

MOST = 2 / 3  # of a rung's trials go on, however late the best finished one came forward
ENOUGH = 6  # trials at a rung before it can be said to mislead

ALIVE = frozenset({TrialState.PAUSED, TrialState.COMPLETE})


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
