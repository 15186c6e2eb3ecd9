"""Propose the next setting: the default, a learning-rate test, known settings, then the sampler.

Settings that are known from elsewhere follow the default, where there are any.
The first known setting did best in short runs of other tasks; it is also tried at other learning
rates. The other known settings come from longer runs, so their turn gets less likely with every
trial. No setting is tried twice.
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
from autotune.space.presets import KNOWN
from autotune.space.spaces import Candidate, Range
from autotune.studies.records import Proposal, Role, TrialRecord, TrialState
from autotune.studies.setting import Setting

SEARCH_SEED = 0  # seed index: all search trials have the same initial weights and batches
MIXED = "auto"  # the sampler that is mixed with known settings

FACTOR = 3.0  # ratio between neighbouring learning rates of the test
TESTED = (FACTOR, 1 / FACTOR, FACTOR**-2)  # times the known rate: large models need lower ones
APART = 0.1  # least distance between tested learning rates, as a part of the range
TEST = "range test"
RUN_WHOLE = ", run whole"  # suffix of the origin of a setting that skips all rungs
BELIEF, FADING = 0.5, 0.9  # chance of a known setting: at first, and its factor per trial

ASKED = 8  # attempts of the sampler to propose something new
DRAWN = 64  # uniform draws after that; if none is new, the space is used up


def propose(state: StudyState, *, whole: bool = False) -> Proposal | None:
    """Return the next setting to try; None if the space has no new one.

    ``whole``: the trial skips all rungs; its origin is marked so.
    """
    number = len(state.of(Role.SEARCH))
    for candidate in _wishes(state, number):
        if not state.tried(candidate.setting):
            return Proposal(
                role=Role.SEARCH,
                origin=candidate.origin + (RUN_WHOLE if whole else ""),
                setting=candidate.setting,
                seed=SEARCH_SEED,
                target=state.target,
            )
    return None


def _wishes(state: StudyState, number: int) -> Iterator[Candidate]:
    """Yield candidate settings for trial ``number``, the preferred one first."""
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
        params = sampler(state.space, seen, index=max(0, index), seed=own)
        yield Candidate(origin=state.policy.sampler, setting=state.space.setting(params))
    for draw in range(DRAWN):
        own = derive(seed, "drawn", draw)
        params = random.sampler(state.space, seen, index=number, seed=own)
        yield Candidate(origin="random", setting=state.space.setting(params))


def _believes(seed: int, number: int) -> bool:
    chance = float(np.random.default_rng(derive(seed, "belief", number)).random())
    return chance < BELIEF * FADING**number


def _first(state: StudyState) -> list[Candidate]:
    """Return the settings that are always tried, the default first."""
    if state.policy.sampler != MIXED:
        return [*state.presets[:1], *state.earlier, *state.presets[1:]]
    return [*state.presets[:1], *state.earlier, *state.presets[1:KNOWN], *_range_test(state)]


def _range_test(state: StudyState) -> Iterator[Candidate]:
    """Yield the known setting at other learning rates: no parameter matters more."""
    own = _known(state).hyper["lr"]
    yield from _rates(state, own, (own * factor for factor in TESTED))


def _beyond(state: StudyState) -> Iterator[Candidate]:
    """Yield a learning rate beyond the tested ones if the best tested one is the first or last."""
    known = len(state.presets[:KNOWN]) - 1
    known += len(state.earlier) if known else 0
    searched = state.of(Role.SEARCH)
    trials = [t for t in searched if state.place(t) == known or t.origin.startswith(TEST)]
    losses = {trial.setting.hyper["lr"]: _short_loss(state, trial) for trial in trials}
    if len(losses) < 2 or None in losses.values():
        return
    best = min(losses, key=lambda rate: (losses[rate], rate))
    if best == max(losses):
        yield from _rates(state, best, (best * FACTOR,))
    elif best == min(losses):
        yield from _rates(state, best, (best / FACTOR,))


def _known(state: StudyState) -> Setting:
    """Return the first known setting after the default; the default if there is none."""
    return state.presets[:KNOWN][-1].setting


def _rates(state: StudyState, near: float, rates: Iterable[float]) -> Iterator[Candidate]:
    """Yield the known setting at each learning rate that is far enough from ``near``."""
    lr = state.space.parameters.get("lr")
    if not isinstance(lr, Range):
        return
    lr = lr.first  # a range that was widened later is not tested again
    known = _known(state)
    for rate in map(lr.nearest, rates):
        if abs(lr.unit(rate) - lr.unit(near)) > APART:
            yield state.space.preset({**known.hyper, "lr": rate}, known.warmup, TEST)


def _short_loss(state: StudyState, trial: TrialRecord) -> float | None:
    """Return the loss at the first rung; None until it is known."""
    if trial.state is TrialState.DIVERGED:
        return math.inf
    return state.losses[trial.id].get(state.ladder.first)
