"""What a validation runs next: each setting on the same fresh seeds, in a longer run.

Sets of rules race as finalists do (``racing``): after two seeds, those clearly behind run no more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from autotune.scheduler import racing
from autotune.scheduler.racing import Losses
from autotune.scheduler.study_state import ENDED
from autotune.studies.records import TrialRecord, TrialState
from autotune.studies.validations import Entrant, Plan

FIRST_SEED = 1_000_000  # seed index; judging never comes so far
BLOCK = 10_000  # seeds of one validation: no two share one
ENOUGH = 2  # seeds after which a set of rules may be out of the race
MORE_SEEDS = 2  # at most this many times the seeds asked for, if minutes are left

RANKED = "ranked"  # word for a setting of which only its place among others counts

# Takes the optimizers of runs that start together or not at all.
Affordable = Callable[[Sequence[str]], bool]


def first_seed(number: int) -> int:
    """Return the first seed of a search's validation with this number, which is from 1."""
    return FIRST_SEED + (number - 1) * BLOCK


def pair(plan: Plan) -> list[Entrant]:
    """Return the settings that one seed is useless without: the tuned one and its rivals."""
    return [each for each in plan.entrants if each.which != RANKED]


def next_run(
    plan: Plan,
    trials: Iterable[TrialRecord],
    *,
    seeds: int,
    more: bool,
    affordable: Affordable,
) -> tuple[Entrant, int] | None:
    """Return the next setting to train and the index of its seed; None if there is none now.

    Args:
        plan: What the validation runs.
        trials: Its trials so far.
        seeds: On how many seeds each setting is to be run.
        more: Whether to go on with more seeds while that can be paid, as judging does.
        affordable: Tells what the budget pays for.
    """
    begun = {(trial.origin, trial.seed) for trial in trials}
    found = losses(trials)
    for lap in range(seeds):
        if run := _in_lap(plan, lap, begun, found, affordable):
            return run
    if run := _ranked(plan, begun, affordable):
        return run
    for lap in range(seeds, MORE_SEEDS * seeds if more else 0):
        if run := _in_lap(plan, lap, begun, found, affordable):
            return run
    return None


def losses(trials: Iterable[TrialRecord]) -> dict[str, dict[int, float]]:
    """Return the losses at the end of each setting's runs by seed; infinite for one without."""
    found: dict[str, dict[int, float]] = {}
    for trial in trials:
        if trial.state in ENDED:
            well = trial.state is TrialState.COMPLETE and trial.loss is not None
            found.setdefault(trial.origin, {})[trial.seed] = (
                trial.loss if well and trial.loss is not None else math.inf
            )
    return found


def runners(
    plan: Plan, lap: int, found: Mapping[str, Losses]
) -> tuple[list[Entrant], list[Entrant]]:
    """Return who runs in a lap, and of whom that is not known before earlier laps have ended."""
    known: list[Entrant] = []
    unknown: list[Entrant] = []
    for rivals in _races(plan):
        left = _left(plan, rivals, lap, found)
        (unknown if left is None else known).extend(rivals if left is None else left)
    place = {each.key: place for place, each in enumerate(plan.entrants)}
    return sorted(known, key=lambda each: place[each.key]), unknown


def _races(plan: Plan) -> list[list[Entrant]]:
    """Return the settings that race with each other: one of an optimizer by sets of rules."""
    races: dict[tuple[str, str], list[Entrant]] = {}
    for each in pair(plan):
        races.setdefault((each.optimizer, each.which), []).append(each)
    return list(races.values())


def _left(
    plan: Plan, rivals: Sequence[Entrant], lap: int, found: Mapping[str, Losses]
) -> list[Entrant] | None:
    """Return those of a race that run in a lap; None before that can be said."""
    left = list(rivals)
    for before in range(ENOUGH, lap + 1):
        if len(left) < 2:
            return left
        seeds = range(plan.first_seed, plan.first_seed + before)
        own = {each.key: found.get(each.key, {}) for each in left}
        if any(seed not in one for one in own.values() for seed in seeds):
            return None
        kept = racing.ahead({key: {s: one[s] for s in seeds} for key, one in own.items()})
        left = [each for each in left if each.key in kept]
    return left


def _in_lap(
    plan: Plan,
    lap: int,
    begun: set[tuple[str, int]],
    found: Mapping[str, Losses],
    affordable: Affordable,
) -> tuple[Entrant, int] | None:
    """Return the next run on a seed; a seed begins only if all its runs can be paid."""
    seed = plan.first_seed + lap
    known, unknown = runners(plan, lap, found)
    left = [each for each in known if (each.key, seed) not in begun]
    if not left:
        return None
    started = any((each.key, seed) in begun for each in pair(plan))
    together = left[:1] if started else [*known, *unknown]
    return (left[0], seed) if affordable([each.optimizer for each in together]) else None


def _ranked(
    plan: Plan, begun: set[tuple[str, int]], affordable: Affordable
) -> tuple[Entrant, int] | None:
    """Return the next setting to be ranked, on the first seed."""
    for each in plan.entrants:
        if each.which == RANKED and (each.key, plan.first_seed) not in begun:
            return (each, plan.first_seed) if affordable([each.optimizer]) else None
    return None
