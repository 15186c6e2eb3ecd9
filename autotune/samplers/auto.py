"""Mix Sobol points, random draws, small moves and a Gaussian process; the default.

A fifth of the proposals stays uniform, since a search that focuses early may lose late. Some move
near the settings that got furthest, and most are what a model thinks best of many such draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune.samplers import random, sobol, surrogate
from autotune.samplers.base import Observation
from autotune.seeds import derive
from autotune.space.spaces import Choice, Params, Space

SOBOL_POINTS = 4
UNIFORM, NEIGHBOURS = 0.2, 0.3  # shares; the model gets what is left
LEADERS = 3  # settings that may be moved from
MOVED = 0.7  # of the coordinates: a best setting on one seed is partly luck, so moves are wide
STEP = 0.12  # of a range: standard deviation of a move
MODEL_NEEDS = 10  # observations: of fewer it knows no more than the neighbours do
CANDIDATES = 30  # drawn uniformly, and as many moves: the model takes the best of these
MODEL_LIMIT = 100  # observations it is told: a proposal takes 15 ms however many there are
WORSE = 0.5  # standard deviations: what diverged, than the worst that did not


def sampler(space: Space, observed: Sequence[Observation], *, index: int, seed: int) -> Params:
    """Propose by the phase and a draw of the study's seed."""
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
    """Take what the model expects to be the best of some uniform draws and some moves."""
    units = [draw.random(len(space)).tolist() for _ in range(CANDIDATES)]
    units += [_neighbour(space, leaders, draw) for _ in range(CANDIDATES)]
    drawn = [space.at(place) for place in units]
    expected = _model(space, observed)(np.array([space.units(params) for params in drawn]))
    ordered = [drawn[place] for place in np.argsort(expected, kind="stable")]
    known = [seen.params for seen in observed]  # where a space has few settings, they come again
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
    """Pair observations with losses, the best first; what diverged is worse than the worst."""
    losses = [seen.loss for seen in observed if seen.loss is not None]
    lost = max(losses) + WORSE * float(np.std(losses))
    scored = [(seen, lost if seen.loss is None else seen.loss) for seen in observed]
    return sorted(scored, key=lambda pair: pair[1])


def _kept(scored: list[tuple[Observation, float]]) -> list[tuple[Observation, float]]:
    """Thin out what is modelled: the better half of the limit, and every so many of the rest."""
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
    """Order by what got furthest: short runs tell bad settings from good, but not which is best."""
    loss = seen.loss if seen.reached_loss is None else seen.reached_loss
    return -seen.reached, loss or 0.0
