"""Mix Sobol points, random draws, small moves and a Gaussian process; the default.

A fifth of the proposals stays uniform, because a search that narrows early can miss the best. Some
are moves near the leading settings. Most are what a model expects to be the best of many draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune.samplers import random, sobol, surrogate
from autotune.samplers.base import Observation
from autotune.seeds import derive
from autotune.space.coordinates import Params
from autotune.space.spaces import Choice, Space

SOBOL_POINTS = 4
UNIFORM, NEIGHBOURS = 0.2, 0.3  # parts of the proposals; the model gets the rest
LEADERS = 3  # settings from which moves start
MOVED = (
    0.7  # part of the coordinates that a move changes: wide, as a lead on one seed is partly luck
)
STEP = 0.12  # standard deviation of a move, as a part of the range
MODEL_NEEDS = 10  # observations before the model is used
CANDIDATES = 30  # uniform draws, and as many moves, of which the model takes the best
MODEL_LIMIT = 100  # observations given to the model, so that a proposal takes 15 ms at most
WORSE = 0.5  # standard deviations by which diverged counts as worse than the worst finite loss


def sampler(space: Space, observed: Sequence[Observation], *, index: int, seed: int) -> Params:
    """Propose with the method that is due: Sobol, uniform, a move or the model."""
    if index < SOBOL_POINTS:
        return sobol.sampler(space, observed, index=index, seed=seed)
    draw = np.random.default_rng(derive(seed, "mixture", index))
    share = draw.random()
    usable = [seen for seen in observed if seen.loss is not None]
    if share < UNIFORM or not usable:
        return random.sampler(space, observed, index=index, seed=seed)
    leaders = sorted(usable, key=_lead)[:LEADERS]
    if share < UNIFORM + NEIGHBOURS or len(observed) < MODEL_NEEDS:
        return space.at(_neighbour(space, leaders, draw))
    return _modelled(space, observed, leaders, draw)


def _modelled(
    space: Space,
    observed: Sequence[Observation],
    leaders: Sequence[Observation],
    draw: np.random.Generator,
) -> Params:
    """Return the best of some uniform draws and some moves, as the model predicts."""
    units = [draw.random(len(space)).tolist() for _ in range(CANDIDATES)]
    units += [_neighbour(space, leaders, draw) for _ in range(CANDIDATES)]
    drawn = [space.at(place) for place in units]
    expected = _model(space, observed)(np.array([space.units(params) for params in drawn]))
    ordered = [drawn[place] for place in np.argsort(expected, kind="stable")]
    known = [seen.params for seen in observed]  # in a small space, settings come again
    return next((params for params in ordered if params not in known), ordered[0])


def _model(space: Space, observed: Sequence[Observation]) -> surrogate.Predict:
    kept = _kept(_scored(observed))
    return surrogate.fit(
        np.array([space.units(seen.params) for seen, _ in kept]),
        np.array([loss for _, loss in kept]),
        np.array([seen.doubt for seen, _ in kept]),
        surrogate.lengths(tuple(space.parameters)),
    )


def _scored(observed: Sequence[Observation]) -> list[tuple[Observation, float]]:
    """Pair observations with losses, best first; diverged ones get a loss above the worst."""
    losses = [seen.loss for seen in observed if seen.loss is not None]
    lost = max(losses) + WORSE * float(np.std(losses))
    scored = [(seen, lost if seen.loss is None else seen.loss) for seen in observed]
    return sorted(scored, key=lambda pair: pair[1])


def _kept(scored: list[tuple[Observation, float]]) -> list[tuple[Observation, float]]:
    """Limit what is modelled: the best ones, and an even selection of the rest."""
    half = MODEL_LIMIT // 2
    every = max(1, -(-(len(scored) - half) // half))
    return scored[:half] + scored[half::every]


def _neighbour(
    space: Space, leaders: Sequence[Observation], draw: np.random.Generator
) -> list[float]:
    """Move some coordinates of a leading setting a little; return its place in the unit cube."""
    centre = leaders[int(draw.integers(len(leaders)))]
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
    return units


def _lead(seen: Observation) -> tuple[int, float]:
    """Order by how far trials went: short runs show bad settings, but not which one is best."""
    loss = seen.loss if seen.reached_loss is None else seen.reached_loss
    return -seen.reached, loss or 0.0
