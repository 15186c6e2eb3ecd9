"""Tell when trials of one seed did not begin alike: their losses are then no pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autotune.studies.records import SearchRecord, TrialRecord
from autotune.studies.store import Store
from autotune.tasks.precision import Precision
from autotune.training.job import FIRST, Report

LOSSES = "losses"
NEAR = 1e-3  # likenesses of equal data from libraries that decode it differently
ROUNDING, COARSE = 1e-4, 1e-2  # of a loss in float32 and in bfloat16, between two processors


@dataclass(frozen=True)
class _First:
    """What a trial of a seed began with."""

    who: str
    values: Mapping[str, float]


@dataclass(kw_only=True)
class Alike:
    """Compares what trials began with, by seed: those seen here and those that are stored.

    Args:
        store: Where first losses of other processes' trials are found.
        search: The search.
        coarse: Whether losses are computed in bfloat16.
    """

    store: Store
    search: SearchRecord
    coarse: bool = False
    _firsts: dict[int, _First] = field(default_factory=dict)  # by index of the seed
    _told: bool = False

    def look(self, optimizer: str, trial: TrialRecord, report: Report) -> str | None:
        """Return a sentence if a trial did not begin as another one of its seed; once."""
        values = _values(report)
        if self._told or not values:
            return None
        own = _First(f"{optimizer} trial {trial.number}", values)
        for known in self._known(trial, own):
            what = self._differ(known.values, values)
            if what and not self.coarse and self._mixed():
                self.coarse = True
                what = self._differ(known.values, values)
            if what:
                self._told = True
                return (
                    f"{known.who} and {own.who} have the same seed but began with different "
                    f"{what}: their losses are no pairs, and data for validation may be trained "
                    "on; make data and model from the seed that is given alone, and sort what "
                    "comes from a set or a folder"
                )
        return None

    def _mixed(self) -> bool:
        """Return whether a worker that computes otherwise has joined, perhaps since this one."""
        return "mixed" in self.store.search(self.search.name).task

    def _known(self, trial: TrialRecord, own: _First) -> list[_First]:
        if trial.seed in self._firsts:
            return [self._firsts[trial.seed]]
        self._firsts[trial.seed] = own
        stored = self.store.first_losses(self.search.id)
        names = {study.id: study.optimizer for study in self.search.studies}
        return [
            _First(f"{names[one.study]} trial {one.number}", {LOSSES: stored[one.id]})
            for study in names
            for one in self.store.trials(study)
            if one.id in stored and one.seed == trial.seed and one.id != trial.id
        ]

    def _differ(self, one: Mapping[str, float], other: Mapping[str, float]) -> str | None:
        """Return what differs by more than rounding."""
        for name in sorted(one.keys() & other.keys()):
            near = NEAR
            if name == LOSSES:
                near = (COARSE if self.coarse else ROUNDING) * abs(one[name])
            if abs(one[name] - other[name]) > near:
                return f"first {name}"
        return None


def coarse(task: Mapping[str, object]) -> bool:
    """Return whether a task computes in fewer digits than float32's."""
    return task.get("precision", Precision.FLOAT32.value) != Precision.FLOAT32.value


def _values(report: Report) -> dict[str, float]:
    """Return the first batches and the first loss, where the report has them."""
    losses = [p.train_loss for p in report.points if p.step == 1 and p.train_loss is not None]
    return {**report.facts.get(FIRST, {}), LOSSES: losses[0]} if losses else {}
