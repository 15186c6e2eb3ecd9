"""Any sampler of Optuna's by the name of its class: ``optuna:CmaEsSampler(sigma0=0.3)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune.optuna_classes import Family, Wanted, explained
from autotune.samplers import random
from autotune.samplers.base import Observation, ask, replay, unwarned
from autotune.seeds import derive
from autotune.space.spaces import Params, Space

# Finished trials tell these all that they need to know. Others keep notes of what they proposed, so
# that is gone through again for each proposal.
FORGETFUL = frozenset({"GPSampler", "RandomSampler", "TPESampler"})
COUNTING = frozenset({"QMCSampler"})  # only how many there were
TRIED = 12  # observations with which a sampler is tried out


@dataclass(frozen=True, kw_only=True)
class Named:
    """One of Optuna's samplers, with its own defaults and the study's seed."""

    wanted: Wanted

    def __call__(
        self, space: Space, observed: Sequence[Observation], *, index: int, seed: int
    ) -> Params:
        """Ask a new instance that has been told what came before."""
        name = self.wanted.cls.__name__
        counts = name in COUNTING
        sampler = self.wanted.make(seed=derive(seed) if counts else derive(seed, index))
        with unwarned(), explained(self.wanted.name):
            if name in FORGETFUL:
                return ask(sampler, space, observed)
            if counts:
                return replay(sampler, space, observed[:1], blank=index)
            return replay(sampler, space, observed)

    def check(self, space: Space) -> None:
        """Refuse what cannot propose in a space, or needs a package that is not installed."""
        if not space.parameters:
            return
        points = [random.sampler(space, [], index=i, seed=0) for i in range(TRIED)]
        seen = [Observation(params=p, loss=float(i)) for i, p in enumerate(points)]
        self(space, seen, index=TRIED, seed=0)


FAMILY = Family(
    kind="sampler",
    prefix="optuna",
    module="optuna.samplers",
    base="BaseSampler",
    make=lambda wanted: Named(wanted=wanted),
    elsewhere={
        "BoTorchSampler": ("optuna.integration", "optuna-integration[botorch]"),
        "PyCmaSampler": ("optuna.integration", "optuna-integration[cma]"),
    },
    ours=frozenset({"seed"}),
)
