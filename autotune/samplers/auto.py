"""The default: Sobol points first, then a mixture that no single bad model can spoil.

Half of the proposals stay uniform, since a search that focuses early may lose late; the rest
moves near the settings that got furthest, or asks a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune.samplers import gp, random, sobol, tpe
from autotune.samplers.base import Observation
from autotune.seeds import derive
from autotune.spaces import Choice, Params, Space

SOBOL_POINTS = 4
UNIFORM, NEIGHBOURS = 0.5, 0.4  # shares; the model gets what is left
LEADERS = 3  # settings that may be moved from
MOVED = 0.7  # of the coordinates: a best setting on one seed is partly luck, so moves are wide
STEP = 0.12  # of a range: standard deviation of a move
MODEL_NEEDS = 12  # observations: of fewer it knows no more than the neighbours do
GP_LIMIT = 100  # observations: at 100 a proposal takes 0.3 s, at 300 more than a second
TPE_LIMIT = 300  # the best ones say all that it asks


def sampler(space: Space, observed: Sequence[Observation], *, index: int, seed: int) -> Params:
    """Propose by the phase and a draw of the study's seed."""
    if index < SOBOL_POINTS:
        return sobol.sampler(space, observed, index=index, seed=seed)
    draw = np.random.default_rng(derive(seed, "mixture", index))
    share = draw.random()
    usable = [seen for seen in observed if seen.loss is not None]
    if share < UNIFORM or not usable:
        return random.sampler(space, observed, index=index, seed=seed)
    if share < UNIFORM + NEIGHBOURS or len(usable) < MODEL_NEEDS:
        return _neighbour(space, usable, draw)
    if len(observed) <= GP_LIMIT:
        return gp.sampler(space, observed, index=index, seed=seed)
    best = sorted(usable, key=lambda seen: seen.loss or 0.0)[:TPE_LIMIT]
    return tpe.sampler(space, best, index=index, seed=seed)


def _neighbour(space: Space, usable: list[Observation], draw: np.random.Generator) -> Params:
    """Move some coordinates of a leading setting a little.

    Short runs tell bad settings from good ones but not which is best: those lead that got furthest.
    """
    best = sorted(usable, key=_lead)[:LEADERS]
    centre = best[int(draw.integers(len(best)))]
    moved = draw.random(len(space)) < MOVED
    moved[int(draw.integers(len(space)))] = True
    shifts = draw.normal(0, STEP, len(space))
    jumps = draw.random(len(space))
    units = []
    for i, (parameter, unit) in enumerate(
        zip(space.parameters.values(), space.units(centre.params), strict=True)
    ):
        if not moved[i]:
            units.append(unit)
        elif isinstance(parameter, Choice):
            units.append(float(jumps[i]))
        else:
            units.append(float(np.clip(unit + shifts[i], 0, 1)))
    return space.at(units)


def _lead(seen: Observation) -> tuple[int, float]:
    loss = seen.loss if seen.reached_loss is None else seen.reached_loss
    return -seen.reached, loss or 0.0
