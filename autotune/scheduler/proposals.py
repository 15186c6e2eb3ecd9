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
from autotune.scheduler.study_state import Ledger
from autotune.seeds import derive
from autotune.seeds import study as study_seed
from autotune.space.setting import Setting
from autotune.space.spaces import Range
from autotune.studies.records import Proposal, Role, TrialRecord, TrialState
from autotune.studies.spec import SearchSpec

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


def propose(ledger: Ledger, spec: SearchSpec, *, whole: bool = False) -> Proposal | None:
    """Return the next setting to try; None when the space has no other.

    ``whole`` says that it will be compared at no rung, which its origin tells from then on.
    """
    number = len(ledger.of(Role.SEARCH))
    for setting in _wishes(ledger, spec, number):
        if not ledger.tried(setting.hyper, setting.warmup):
            return Proposal(
                role=Role.SEARCH,
                origin=setting.origin + (RUN_WHOLE if whole else ""),
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
    sampler = load("autotune.samplers", spec.sampler)
    seen = ledger.forecast() if spec.sampler == MIXED else ledger.observed()
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
    return [*ledger.presets[:KNOWN], *_range_test(ledger)]


def _range_test(ledger: Ledger) -> Iterator[Setting]:
    """Yield the known setting at other learning rates, which matter more than all the rest."""
    own = _known(ledger).hyper["lr"]
    yield from _rates(ledger, own, (own * factor for factor in TESTED))


def _beyond(ledger: Ledger) -> Iterator[Setting]:
    """Yield the learning rate beyond those tested, where losses fall towards it."""
    known = len(ledger.presets[:KNOWN]) - 1
    trials = [t for t in ledger.of(Role.SEARCH) if t.number == known or t.origin.startswith(TEST)]
    losses = {trial.hyper["lr"]: _short_loss(ledger, trial) for trial in trials}
    if len(losses) < 2 or None in losses.values():
        return
    best = min(losses, key=lambda rate: (losses[rate], rate))
    if best == max(losses):
        yield from _rates(ledger, best, (best * FACTOR,))
    elif best == min(losses):
        yield from _rates(ledger, best, (best / FACTOR,))


def _known(ledger: Ledger) -> Setting:
    """Return the known setting that follows the default; the default where there is no other."""
    return ledger.presets[:KNOWN][-1]


def _rates(ledger: Ledger, near: float, rates: Iterable[float]) -> Iterator[Setting]:
    """Yield the known setting at those learning rates of the space that are apart from ``near``."""
    lr = ledger.space.parameters.get("lr")
    if not isinstance(lr, Range):
        return
    lr, known = lr.first, _known(ledger)  # a range widened later is not tested again
    for rate in map(lr.nearest, rates):
        if abs(lr.unit(rate) - lr.unit(near)) > APART:
            yield ledger.space.preset({**known.hyper, "lr": rate}, known.warmup, TEST)


def _short_loss(ledger: Ledger, trial: TrialRecord) -> float | None:
    """Return the loss where settings are first compared; None until it is known."""
    if trial.state is TrialState.DIVERGED:
        return math.inf
    return ledger.losses[trial.id].get(ledger.ladder.first)
