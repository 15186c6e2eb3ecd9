"""What the server keeps of a search between looks: only trials that changed are read again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

from autotune.app import clock
from autotune.app.points import Points
from autotune.results import comparison
from autotune.results.comparison import Comparison
from autotune.studies import following
from autotune.studies.records import SearchRecord, StudyRecord, TrialRecord
from autotune.studies.store import Store

Value = TypeVar("Value")
Trials = Mapping[str, tuple[TrialRecord, ...]]  # by optimizer


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One search with all of its trials, as they stood at one moment."""

    search: SearchRecord
    trials: Trials
    comparison: Comparison
    signature: str
    revision: int  # of the search: the trials hold every change up to it

    def study(self, optimizer: str) -> StudyRecord:
        """Return the study of one optimizer."""
        return next(s for s in self.search.studies if s.optimizer == optimizer)


@dataclass
class Kept(Generic[Value]):
    """The last value of something that follows from a search; viewers who ask at once wait."""

    _last: tuple[str, Value] | None = None
    _lock: Lock = field(default_factory=Lock)

    def at(self, signature: str, renewed: Callable[[Value | None], Value]) -> Value:
        """Return the value as of a signature.

        Args:
            signature: Of the search.
            renewed: Makes the value of the last one, if there is any.
        """
        with self._lock:
            if self._last is None or self._last[0] != signature:
                self._last = signature, renewed(self._last[1] if self._last else None)
            return self._last[1]


@dataclass(frozen=True, kw_only=True)
class KeptPoints:
    """The points of a study; they hold every change up to a revision of the search."""

    points: Points
    revision: int


def curves(
    store: Store, study: StudyRecord, search: SearchRecord, last: KeptPoints | None
) -> KeptPoints:
    """Return the points of a study, of which those of its trials that changed are read."""
    revision = following.revision(store, search.id)
    new = following.changed_ids(store, study.id, last.revision) if last else []
    if last is None or last.revision > revision or len(new) > following.FEW:
        points = Points.read(following.points(store, study.id))
    elif new:
        points = last.points.replaced(new, Points.read(following.points(store, study.id, new)))
    else:
        points = last.points
    return KeptPoints(points=points, revision=revision)


def snapshot(store: Store, name: str, signature: str, last: Snapshot | None) -> Snapshot:
    """Return a search, of whose trials those that changed are read; raises NotFound."""
    search = store.search(name)
    revision = following.revision(store, search.id)
    trials = _changed(store, search, last, revision) if last else None
    if trials is None:
        trials = {s.optimizer: _dated(store, s, store.trials(s.id)) for s in search.studies}
    return Snapshot(
        search=search,
        trials=trials,
        comparison=comparison.of(store, search, trials),
        signature=signature,
        revision=revision,
    )


def _dated(
    store: Store, study: StudyRecord, trials: Sequence[TrialRecord], few: bool = False
) -> tuple[TrialRecord, ...]:
    ended = following.ended(store, study.id, [trial.id for trial in trials] if few else None)
    return clock.dated(trials, ended)


def _changed(store: Store, search: SearchRecord, last: Snapshot, revision: int) -> Trials | None:
    """Return the last trials with those that changed; None where all are better read again."""
    if search.id != last.search.id or revision < last.revision:  # another one, or an older copy
        return None
    new = following.changed(store, search.id, last.revision)
    if len(new) > following.FEW:
        return None
    return {
        study.optimizer: _merged(
            last.trials.get(study.optimizer, ()),
            _dated(store, study, [trial for trial in new if trial.study == study.id], few=True),
        )
        for study in search.studies
    }


def _merged(old: tuple[TrialRecord, ...], new: Sequence[TrialRecord]) -> tuple[TrialRecord, ...]:
    if not new:
        return old
    known = {trial.number: trial for trial in (*old, *new)}
    return tuple(known[number] for number in sorted(known))
