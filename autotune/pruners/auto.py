"""Let the best third of each rung go on, and more where early losses mislead; the default.

If the best finished trial was outside the best third at a rung, trials as good as it go on too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from autotune.pruners.ladder import Ladder, Losses
from autotune.studies.records import TrialRecord, TrialState

MOST = 2 / 3  # of a rung's trials are promoted at most, whatever the best trial's rank there
MIN_TRIALS = 6  # trials at a rung before it may be called misleading

ALIVE = frozenset({TrialState.PAUSED, TrialState.COMPLETE})
_NONE: Mapping[int, float] = {}  # of a trial that was not measured

Reached = tuple[float, int, TrialRecord]  # loss at a rung, and the trial's number, which is unique


def promotable(
    trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder
) -> tuple[TrialRecord, int] | None:
    """Return the paused trial to take further and the step to take it to.

    At each rung, from the highest down, the best floor(n / eta) of the n trials that reached it are
    promoted, and a few more before the safe rung. A diverged trial counts at every rung, as worst.
    Trials as good as the best finished one was there are promoted too, up to two thirds: if good
    settings start slowly, the best third would leave them out.
    """
    everyone = list(trials)
    for rung in reversed([step for step in rungs.steps[:-1] if step >= rungs.first]):
        reached = _reached(everyone, losses, rung)
        paused = TrialState.PAUSED
        waiting = [one for one in reached if one[2].state is paused and one[2].step == rung]
        if not waiting:
            continue
        first = min(waiting)
        count = max(rungs.promoted(rung, len(reached)), _as_good_as_the_best(reached))
        if _place(first, reached) <= count:
            return first[2], rungs.above(rung)
    return None


def misleading(trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder) -> int | None:
    """Return a trusted rung at which the best finished trial was not in the best third, if any.

    Then halving finds good settings only by luck: it may have stopped the best ones.
    """
    everyone, trusted = list(trials), max(rungs.first, rungs.safe)
    for rung in [step for step in rungs.steps[:-1] if step >= trusted]:
        reached = _reached(everyone, losses, rung)
        if len(reached) < MIN_TRIALS:
            continue
        if _as_good_as_the_best(reached) > rungs.promoted(rung, len(reached)):
            return rung
    return None


def ranking(trials: Iterable[TrialRecord], losses: Losses, rung: int) -> list[TrialRecord]:
    """Return the trials that reached a rung, lowest loss first; diverged trials are worst."""
    return [trial for _, _, trial in sorted(_reached(trials, losses, rung))]


def _reached(trials: Iterable[TrialRecord], losses: Losses, rung: int) -> list[Reached]:
    """Return the trials that reached a rung, to be sorted as they are ranked there."""
    diverged = TrialState.DIVERGED  # looked up once: an enum lookup per trial doubles the time
    return [
        (math.inf if trial.state is diverged else losses[trial.id][rung], trial.number, trial)
        for trial in trials
        if trial.state is diverged or rung in losses.get(trial.id, _NONE)
    ]


def _place(one: Reached, reached: list[Reached]) -> int:
    """Return the rank of a trial, from 1; counting takes a tenth of the time of sorting."""
    return 1 + sum(map(one.__gt__, reached))


def _as_good_as_the_best(reached: list[Reached]) -> int:
    """Return the rank at a rung of the best finished trial, limited to two thirds."""
    complete = TrialState.COMPLETE
    ended = [
        (one[2].loss, one)
        for one in reached
        if one[2].state is complete and one[2].loss is not None
    ]
    return min(_place(min(ended)[1], reached), int(MOST * len(reached))) if ended else 0


def leaders(
    trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder, count: int
) -> list[TrialRecord]:
    """Return the ``count`` best trials: those that went furthest, then the lowest loss there."""
    everyone, found = list(trials), dict[int, TrialRecord]()
    for rung in reversed(rungs.steps):  # from the top, because few trials get there
        there = [t for t in everyone if rung in losses.get(t.id, _NONE)]
        there = [t for t in there if t.state in ALIVE]
        there.sort(key=lambda t: (losses[t.id][rung], t.number))
        found.update({t.id: t for t in there if t.id not in found})
        if len(found) >= count:
            break
    return list(found.values())[:count]


def highest_rung(losses: Losses, rungs: Ladder, needed: int) -> int:
    """Return the highest rung that at least ``needed`` trials reached, else the first one."""
    for step in reversed(rungs.steps):
        if sum(step in curve for curve in losses.values()) >= needed:
            return step
    return rungs.first
