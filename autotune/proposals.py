"""What a study tries next: its default, a test of learning rates, known settings, the sampler's.

Known settings come from longer runs of other models, so they are believed less with every trial.
Nothing is tried twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from autotune.ledger import Ledger
from autotune.registry import load
from autotune.samplers import random
from autotune.seeds import derive
from autotune.seeds import study as study_seed
from autotune.setting import Setting
from autotune.spaces import Range
from autotune.studies.records import Proposal, Role, TrialRecord, TrialState
from autotune.studies.spec import SearchSpec

SEARCH_SEED = 0  # seed index: all settings of a search see the same initialisation and batches
MIXED = "auto"  # the sampler that shares its turns with known settings

TESTED = (0.75, 0.5)  # of the learning rate's range: short runs favour the high end
BEYOND = (0.25, 0.95)  # tested too where the lowest or the highest so far is the best
APART = 0.1  # of that range: what is nearer to the default's rate tells nothing more
TEST = "range test"
BELIEF, FADING = 0.5, 0.9  # chance of a known setting at first, and what is left of it each time

ASKED = 8  # times a sampler may repeat what was tried
DRAWN = 64  # uniform draws after that, before the space counts as used up


def propose(ledger: Ledger, spec: SearchSpec) -> Proposal | None:
    """Return the next setting to try; None when the space has no other."""
    number = len(ledger.of(Role.SEARCH))
    for setting in _wishes(ledger, spec, number):
        if not ledger.tried(setting.hyper, setting.warmup):
            return Proposal(
                role=Role.SEARCH,
                origin=setting.origin,
                params=setting.params,
                hyper=setting.hyper,
                warmup=setting.warmup,
                seed=SEARCH_SEED,
                target=ledger.target,
            )
    return None


def _wishes(ledger: Ledger, spec: SearchSpec, number: int) -> Iterator[Setting]:
    """Yield settings in the order of preference for trial ``number``."""
    seed = study_seed(spec.seed, ledger.study.optimizer)
    first = _first(ledger, spec)
    yield from first
    if not ledger.space.parameters:
        return
    if spec.sampler == MIXED:
        yield from _beyond(ledger)
        if _believes(seed, number):
            yield from ledger.presets
    sampler, seen = load("autotune.samplers", spec.sampler), ledger.observed()
    index = number - len(first)
    for again in range(ASKED):
        own = derive(seed, "again", again) if again else seed
        yield ledger.space.setting(
            sampler(ledger.space, seen, index=max(0, index), seed=own), spec.sampler
        )
    for draw in range(DRAWN):
        own = derive(seed, "drawn", draw)
        yield ledger.space.setting(
            random.sampler(ledger.space, seen, index=number, seed=own), "random"
        )


def _believes(seed: int, number: int) -> bool:
    chance = float(np.random.default_rng(derive(seed, "belief", number)).random())
    return chance < BELIEF * FADING**number


def _first(ledger: Ledger, spec: SearchSpec) -> list[Setting]:
    """Return the settings tried in any case; the default leads."""
    if spec.sampler != MIXED:
        return list(ledger.presets)
    return [*ledger.presets[:2], *_range_test(ledger)]


def _range_test(ledger: Ledger) -> Iterator[Setting]:
    """Yield the default at other learning rates, which matter more than all the rest."""
    lr = ledger.space.parameters.get("lr")
    if isinstance(lr, Range):
        lr = lr.first  # a range widened later is not tested again
        own = lr.unit(ledger.presets[0].hyper["lr"])
        yield from (_at(ledger, lr, unit) for unit in TESTED if abs(unit - own) > APART)


def _beyond(ledger: Ledger) -> Iterator[Setting]:
    """Yield the learning rate beyond those tested, where losses fall towards it."""
    lr = ledger.space.parameters.get("lr")
    trials = [t for t in ledger.of(Role.SEARCH) if t.number == 0 or t.origin == TEST]
    if not isinstance(lr, Range) or len(trials) < 2:
        return
    lr = lr.first
    losses = {lr.unit(t.hyper["lr"]): _short_loss(ledger, t) for t in trials}
    if None in losses.values():
        return
    best = min(losses, key=lambda unit: (losses[unit], unit))
    low, high = BEYOND
    if best == max(losses) and best < high - APART:
        yield _at(ledger, lr, high)
    elif best == min(losses) and best > low + APART:
        yield _at(ledger, lr, low)


def _short_loss(ledger: Ledger, trial: TrialRecord) -> float | None:
    """Return the loss where settings are first compared; None until it is known."""
    if trial.state is TrialState.DIVERGED:
        return math.inf
    return ledger.losses[trial.id].get(ledger.ladder.first)


def _at(ledger: Ledger, lr: Range, unit: float) -> Setting:
    default = ledger.presets[0]
    return ledger.space.preset({**default.hyper, "lr": lr.at(unit)}, default.warmup, TEST)
