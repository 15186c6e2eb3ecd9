"""Choose the setting to recommend: finalists and the default race on fresh seeds.

The best of many settings on one seed is partly lucky. So all finalists and the default run on the
same fresh seed, and those that are not clearly behind run on one more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TypeVar

from autotune.scheduler.proposals import SEARCH_SEED
from autotune.scheduler.study_state import ENDED, StudyState
from autotune.studies.records import Role, TrialRecord, TrialState

SEEDS = (1, 2)  # seed indices of the laps; all take part in the first lap
BEHIND = 2.0  # standard errors of the paired differences: further behind is out of the race

Key = TypeVar("Key", int, str)
Losses = Mapping[int, float]  # by seed; infinite if the run failed or diverged


def finalists(state: StudyState, count: int) -> list[TrialRecord]:
    """Return the search trials with the lowest full-length loss; the default is left out."""
    done = [t for t in state.of(Role.SEARCH) if t.state is TrialState.COMPLETE and t.number]
    return sorted(done, key=lambda t: (t.loss, t.number))[:count]


def missing(state: StudyState, lap: int) -> list[TrialRecord]:
    """Return the trials of a lap that have not started their run on its seed."""
    begun = {t.source for t in state.of(Role.SELECT) if t.seed == SEEDS[lap]}
    return [trial for trial in runners(state, lap) if trial.number not in begun]


def runners(state: StudyState, lap: int) -> list[TrialRecord]:
    """Return the trials of a lap: all in the first; in the second, none if one is clearly ahead."""
    everyone = [*state.of(Role.SEARCH)[:1], *finalists(state, state.policy.finalists)]
    if lap == 0:
        return everyone
    known = {trial.number: losses(state, trial) for trial in everyone}
    left = _ahead(known)
    return [t for t in everyone if t.number in left] if len(left) > 1 else []


def chosen(state: StudyState) -> int | None:
    """Return the number of the setting to recommend; None until the first lap is over.

    0 is the default: it wins if no finalist beats it on the fresh seeds.
    """
    first = runners(state, 0)
    if not first or not _ended(state, first, 0):
        return None
    known = {trial.number: losses(state, trial) for trial in first}
    second = runners(state, 1)
    if second and _ended(state, second, 1):
        known = {trial.number: known[trial.number] for trial in second}
    means = _means(known)
    best = min(means, key=lambda number: (means[number], number))
    return best if math.isfinite(means[best]) else 0


def losses(state: StudyState, trial: TrialRecord) -> dict[int, float]:
    """Return a setting's full-length losses by seed, from the search and the race."""
    found = {}
    if trial.state is TrialState.COMPLETE and trial.loss is not None:
        found[SEARCH_SEED] = trial.loss
    for run in state.of(Role.SELECT):
        if run.source == trial.number and run.state in ENDED:
            well = run.state is TrialState.COMPLETE and run.loss is not None
            found[run.seed] = run.loss if well and run.loss is not None else math.inf
    return found


def ahead(known: Mapping[Key, Losses]) -> list[Key]:
    """Return the one with the lowest mean over the same fresh seeds, and all not clearly behind it.

    Args:
        known: Losses of each on all of these seeds, of which there are two or more.
    """
    means = {name: mean(one.values()) for name, one in known.items()}
    alive = {name: one for name, one in known.items() if math.isfinite(means[name])}
    return _level(alive, means)


def _ended(state: StudyState, trials: Sequence[TrialRecord], lap: int) -> bool:
    return all(SEEDS[lap] in losses(state, trial) for trial in trials)


def _means(known: Mapping[int, Losses]) -> dict[int, float]:
    """Return each setting's mean over the seeds that all of them ran."""
    shared = set.intersection(*(set(one) for one in known.values()))
    return {number: mean(one[seed] for seed in shared) for number, one in known.items()}


def _ahead(known: Mapping[int, Losses]) -> list[int]:
    """Return the leader after the first lap, and all that are not clearly behind it."""
    fresh = {number: one[SEEDS[0]] for number, one in known.items() if SEEDS[0] in one}
    known = {n: one for n, one in known.items() if math.isfinite(fresh.get(n, math.inf))}
    return _level(known, fresh)


def _level(known: Mapping[Key, Losses], scores: Mapping[Key, float]) -> list[Key]:
    """Return the leader by its score, and all that are not clearly behind it."""
    if not known:
        return []
    leader = min(known, key=lambda name: (scores[name], name))
    return [name for name in known if name == leader or not _behind(known[name], known[leader])]


def _behind(one: Losses, leader: Losses) -> bool:
    """Return whether a setting is clearly behind the leader.

    One seed is not enough to say so, except for a default that the search did not run to its end.
    """
    apart = [one[seed] - leader[seed] for seed in sorted(one.keys() & leader.keys())]
    if len(apart) < 2:
        return SEARCH_SEED not in one
    centre = mean(apart)
    spread = math.sqrt(sum((d - centre) ** 2 for d in apart) / (len(apart) - 1))
    return centre > BEHIND * spread / math.sqrt(len(apart))
