"""Any sampler of Optuna by its class name: ``optuna:CmaEsSampler(sigma0=0.3)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune.samplers import random
from autotune.samplers.base import Observation, ask, replay, unwarned
from autotune.samplers.optuna_classes import Family, Wanted, explained
from autotune.seeds import derive
from autotune.space.coordinates import Params
from autotune.space.spaces import Space

# These need only the finished trials. Others keep state about their own proposals, so everything is
# replayed for each proposal.
FORGETFUL = frozenset({"GPSampler", "RandomSampler", "TPESampler"})
COUNTING = frozenset({"QMCSampler"})  # need only the number of proposals
TRIED = 12  # observations with which a sampler is tested


@dataclass(frozen=True, kw_only=True)
class Named:
    """An Optuna sampler with its own defaults and the study's seed."""

    wanted: Wanted

    def __call__(
        self, space: Space, observed: Sequence[Observation], *, index: int, seed: int
    ) -> Params:
        """Ask a new instance to which all observations are replayed."""
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
        """Refuse a sampler that cannot propose in a space, or that needs a missing package."""
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
