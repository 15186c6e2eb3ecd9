"""Any pruner of Optuna by its class name: ``optuna:PercentilePruner(percentile=25)``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from autotune.pruners.base import ask, steps
from autotune.pruners.ladder import Ladder, Losses
from autotune.samplers.optuna_classes import Family, Wanted, explained
from autotune.studies.records import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Named:
    """An Optuna pruner that is given our rungs' steps."""

    wanted: Wanted

    def __call__(
        self, trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder
    ) -> tuple[TrialRecord, int] | None:
        """Ask a new instance, to which all trials are replayed."""
        with explained(self.wanted.name):
            return ask(self.wanted.make(), trials, losses, rungs, steps)


FAMILY = Family(
    kind="pruner",
    prefix="optuna",
    module="optuna.pruners",
    base="BasePruner",
    make=lambda wanted: Named(wanted=wanted),
)
