"""Use Optuna's TPE, still fast after hundreds of trials; for long searches."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.samplers.base import Observation, ask
from autotune.seeds import derive
from autotune.space.coordinates import Params
from autotune.space.spaces import Space


def sampler(space: Space, observed: Sequence[Observation], *, index: int, seed: int) -> Params:
    """Propose where good settings are dense compared with the others."""
    from optuna.samplers import TPESampler

    tpe = TPESampler(
        seed=derive(seed, index), n_startup_trials=1, multivariate=True, constant_liar=False
    )
    return ask(tpe, space, observed)
