"""How a study decides: the part of a spec that what to run next depends on."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.studies.spec import Budget, SearchSpec


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What decisions about one study depend on besides its trials.

    Args:
        budget: The limits, with the default limit where a spec gave none.
        finalists: Settings run again before one is recommended.
        seeds: Fresh seeds on which the recommended setting and the default are compared.
        sampler: Registered name of what proposes settings.
        pruner: Registered name of what promotes trials.
        seed: Where all random choices of the search start.
    """

    budget: Budget
    finalists: int
    seeds: int
    sampler: str
    pruner: str
    seed: int

    @classmethod
    def of(cls, spec: SearchSpec) -> Policy:
        """Return the policy that a spec asks for."""
        return cls(
            budget=spec.budget.resolved,
            finalists=spec.finalists,
            seeds=spec.seeds,
            sampler=spec.sampler,
            pruner=spec.pruner,
            seed=spec.seed,
        )
