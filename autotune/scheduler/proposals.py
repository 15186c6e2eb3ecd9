"""What a study tries next: its default, a test of learning rates, known settings, the sampler's.

The first known setting is what did best in short runs of other tasks, and is tried at other
learning rates too. The rest come from longer runs, so they are believed less with every trial.
Nothing is tried twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from autotune.registry import load
from autotune.samplers import random
from autotune.scheduler.study_state import StudyState
from autotune.seeds import derive
from autotune.seeds import study as study_seed
from autotune.space.setting import Setting
from autotune.space.spaces import Range
from autotune.studies.records import Proposal, Role, TrialRecord, TrialState

SEARCH_SEED = 0  # seed index: all settings of a search see the same initialisation and batches
MIXED = "auto"  # the sampler that shares its turns with known settings

KNOWN = 2  # known settings tried in any case
FACTOR = 3.0  # from one learning rate tested to the next
TESTED = (FACTOR, 1 / FACTOR, FACTOR**-2)  # of the known one: large models want lower rates
APART = 0.1  # of the range of learning rates: what is nearer to one tested tells nothing more
TEST = "range test"
RUN_WHOLE = ", run whole"  # ends the origin of a setting that is compared at no rung
BELIEF, FADING = 0.5, 0.9  # chance of a known setting at first, and what is left of it each time

ASKED = 8  # times a sampler may repeat what was tried
DRAWN = 64  # uniform draws after that, before the space counts as used up


def propose(state: StudyState, *, whole: bool = False) -> Proposal | None:
    """Return the next setting to try; None when the space has no other.

    ``whole`` says that it will be compared at no rung, which its origin tells from then on.
    """
    number = len(state.of(Role.SEARCH))
    for setting in _wishes(state, number):
        if not state.tried(setting.hyper, setting.warmup):
            return Proposal(
                role=Role.SEARCH,
                origin=setting.origin + (RUN_WHOLE if whole else ""),
                params=setting.params,
                hyper=setting.hyper,
                warmup=setting.warmup,
                seed=SEARCH_SEED,
                target=state.target,
            )
    return None


def _wishes(state: StudyState, number: int) -> Iterator[Setting]:
    """Yield settings in the order of preference for trial ``number``."""
    seed = study_seed(state.policy.seed, state.study.optimizer)
    first = _first(state)
    yield from first
    if not state.space.parameters:
        return
    if state.policy.sampler == MIXED:
        yield from _beyond(state)
        if _believes(seed, number):
            yield from state.presets
    sampler = load("autotune.samplers", state.policy.sampler)
    seen = state.forecast() if state.policy.sampler == MIXED else state.observed()
    index = number - len(first)
    for again in range(ASKED):
        own = derive(seed, "again", again) if again else seed
        yield state.space.setting(
            sampler(state.space, seen, index=max(0, index), seed=own), state.policy.sampler
        )
    for draw in range(DRAWN):
        own = derive(seed, "drawn", draw)
        yield state.space.setting(
            random.sampler(state.space, seen, index=number, seed=own), "random"
        )


def _believes(seed: int, number: int) -> bool:
    chance = float(np.random.default_rng(derive(seed, "belief", number)).random())
    return chance < BELIEF * FADING**number


def _first(state: StudyState) -> list[Setting]:
    """Return the settings tried in any case; the default leads."""
    if state.policy.sampler != MIXED:
        return list(state.presets)
    return [*state.presets[:KNOWN], *_range_test(state)]


def _range_test(state: StudyState) -> Iterator[Setting]:
    """Yield the known setting at other learning rates, which matter more than all the rest."""
    own = _known(state).hyper["lr"]
    yield from _rates(state, own, (own * factor for factor in TESTED))


def _beyond(state: StudyState) -> Iterator[Setting]:
    """Yield the learning rate beyond those tested, where losses fall towards it."""
    known = len(state.presets[:KNOWN]) - 1
    trials = [t for t in state.of(Role.SEARCH) if t.number == known or t.origin.startswith(TEST)]
    losses = {trial.hyper["lr"]: _short_loss(state, trial) for trial in trials}
    if len(losses) < 2 or None in losses.values():
        return
    best = min(losses, key=lambda rate: (losses[rate], rate))
    if best == max(losses):
        yield from _rates(state, best, (best * FACTOR,))
    elif best == min(losses):
        yield from _rates(state, best, (best / FACTOR,))


def _known(state: StudyState) -> Setting:
    """Return the known setting that follows the default; the default where there is no other."""
    return state.presets[:KNOWN][-1]


def _rates(state: StudyState, near: float, rates: Iterable[float]) -> Iterator[Setting]:
    """Yield the known setting at those learning rates of the space that are apart from ``near``."""
    lr = state.space.parameters.get("lr")
    if not isinstance(lr, Range):
        return
    lr, known = lr.first, _known(state)  # a range widened later is not tested again
    for rate in map(lr.nearest, rates):
        if abs(lr.unit(rate) - lr.unit(near)) > APART:
            yield state.space.preset({**known.hyper, "lr": rate}, known.warmup, TEST)


def _short_loss(state: StudyState, trial: TrialRecord) -> float | None:
    """Return the loss where settings are first compared; None until it is known."""
    if trial.state is TrialState.DIVERGED:
        return math.inf
    return state.losses[trial.id].get(state.ladder.first)
