"""Use Optuna's Gaussian process, slow after hundreds of trials; for short searches."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.samplers.base import Observation, ask
from autotune.seeds import derive
from autotune.space.coordinates import Params
from autotune.space.spaces import Space


def sampler(space: Space, observed: Sequence[Observation], *, index: int, seed: int) -> Params:
    """Propose by expected improvement under a Gaussian process."""
    from optuna.samplers import GPSampler

    return ask(GPSampler(seed=derive(seed, index), n_startup_trials=1), space, observed)
