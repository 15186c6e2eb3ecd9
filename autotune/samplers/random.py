"""Draw settings at random; the baseline that other samplers have to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune.samplers.base import Observation
from autotune.seeds import derive
from autotune.space.coordinates import Params
from autotune.space.spaces import Space


def sampler(space: Space, observed: Sequence[Observation], *, index: int, seed: int) -> Params:
    """Propose uniformly."""
    return space.at(np.random.default_rng(derive(seed, index)).random(len(space)).tolist())
