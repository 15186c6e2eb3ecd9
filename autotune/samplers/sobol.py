"""Cover the space evenly with Sobol points, whatever the losses; for a map of the space."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.samplers.base import Observation
from autotune.seeds import derive
from autotune.space.coordinates import Params
from autotune.space.spaces import Space


def sampler(space: Space, observed: Sequence[Observation], *, index: int, seed: int) -> Params:
    """Propose point ``index`` of the study's sequence, which has one scrambling."""
    from scipy.stats.qmc import Sobol

    points = Sobol(len(space), scramble=True, rng=derive(seed, "sobol"))
    if index:  # SciPy cannot skip 0 points
        points.fast_forward(index)
    return space.at(points.random(1)[0].tolist())
