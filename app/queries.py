"""What pages read from the store, kept in memory until the store says that it changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import streamlit as st

from autotune.app import clock, fidelity
from autotune.app import reliability as reliabilities
from autotune.app.axes import Axis, axes
from autotune.app.fidelity import Curves, Sample
from autotune.app.importance import Matters, matters
from autotune.app.reliability import Reliability
from autotune.errors import NotFound
from autotune.results.comparison import Comparison, load
from autotune.search.status import current, settled
from autotune.studies import remote, urls
from autotune.studies.records import (
    AttemptRecord,
    Command,
    SearchRecord,
    StudyRecord,
    TrialRecord,
)
from autotune.studies.store import Store


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One search with all of its trials, as they stood at one moment."""

    search: SearchRecord
    trials: Mapping[str, tuple[TrialRecord, ...]]  # by optimizer
    comparison: Comparison
    signature: str

    def study(self, optimizer: str) -> StudyRecord:
        """Return the study of one optimizer."""
        return next(s for s in self.search.studies if s.optimizer == optimizer)


def storage() -> str:
    """Return the database that is shown."""
    return urls.resolve()


def signature(url: str) -> str | None:
    """Return text that differs whenever anything does; None before the first search."""
    try:
        with Store(url, read_only=True) as store:
            return store.signature()
    except NotFound:
        return None


def told(url: str, name: str) -> Command:
    """Return what the workers of a search are told; raises NotFound."""
    with Store(url, read_only=True) as store:
        return remote.standing(store, name).command


def searches(url: str) -> tuple[SearchRecord, ...]:
    """Return all searches, the newest first; none from a database that does not exist."""
    found = signature(url)
    if found is None:
        return ()
    with Store(url, read_only=True) as store:
        return tuple(current(record, store) for record in _searches(url, found))


def snapshot(url: str, name: str) -> Snapshot:
    """Return one search with its trials; raises NotFound."""
    with Store(url, read_only=True) as store:
        found = _snapshot(url, name, store.signature(name))
        return _standing(found, current(found.search, store))


def _standing(snapshot: Snapshot, search: SearchRecord) -> Snapshot:
    """Return a search as it stands: a kill changes no signature."""
    if search.state is snapshot.search.state:
        return snapshot
    trials = {name: tuple(map(settled, those)) for name, those in snapshot.trials.items()}
    return replace(snapshot, search=search, trials=trials)


def curves(url: str, snapshot: Snapshot, optimizer: str) -> Curves:
    """Return the curves of one optimizer's trials."""
    return _curves(url, snapshot.study(optimizer).id, snapshot.signature)


def attempts(url: str, snapshot: Snapshot, optimizer: str) -> tuple[AttemptRecord, ...]:
    """Return every worker's go at the trials of one optimizer."""
    return _attempts(url, snapshot.study(optimizer).id, snapshot.signature)


def sample(url: str, snapshot: Snapshot, optimizer: str) -> tuple[Sample, list[Axis]]:
    """Return the settings that may be compared with each other, and the axes they vary on."""
    study = snapshot.study(optimizer)
    return _sample(url, snapshot, study, key=(url, study.id, snapshot.signature))


def importance(url: str, snapshot: Snapshot, optimizer: str) -> Matters:
    """Return which parameters matter, or why that cannot be said."""
    return _importance(url, snapshot, optimizer, key=(url, optimizer, snapshot.signature))


def reliability(url: str, snapshot: Snapshot, optimizer: str) -> Reliability | None:
    """Return what an optimizer's measurements are worth; None for a task without steps."""
    return _reliability(url, snapshot, optimizer, key=(url, optimizer, snapshot.signature))


# Records are frozen, so pages share them: cache_data would copy ten thousand at every click.
@st.cache_resource(max_entries=2, show_spinner=False)
def _searches(url: str, signature: str) -> tuple[SearchRecord, ...]:
    with Store(url, read_only=True) as store:
        return tuple(store.searches())


@st.cache_resource(max_entries=4, show_spinner="Reading trials")
def _snapshot(url: str, name: str, signature: str) -> Snapshot:
    with Store(url, read_only=True) as store:
        search = store.search(name)
        trials = {
            s.optimizer: clock.dated(store.trials(s.id), _attempts(url, s.id, signature))
            for s in search.studies
        }
        comparison = load(store, name)
    return Snapshot(search=search, trials=trials, comparison=comparison, signature=signature)


@st.cache_resource(max_entries=8, show_spinner="Reading curves")
def _curves(url: str, study: int, signature: str) -> Curves:
    with Store(url, read_only=True) as store:
        return store.curves(study)


@st.cache_resource(max_entries=8, show_spinner=False)
def _attempts(url: str, study: int, signature: str) -> tuple[AttemptRecord, ...]:
    with Store(url, read_only=True) as store:
        return tuple(store.attempts(study))


@st.cache_resource(max_entries=8, show_spinner=False)
def _sample(
    _url: str, _snapshot: Snapshot, _study: StudyRecord, key: tuple[str, int, str]
) -> tuple[Sample, list[Axis]]:
    trials = _snapshot.trials[_study.optimizer]
    compared = fidelity.sample(trials, curves(_url, _snapshot, _study.optimizer))
    return compared, axes(_study.space, [*compared.trials, *compared.diverged])


@st.cache_resource(max_entries=8, show_spinner="Measuring importance")
def _importance(
    _url: str, _snapshot: Snapshot, _optimizer: str, key: tuple[str, str, str]
) -> Matters:
    study, measured = _snapshot.study(_optimizer), reliability(_url, _snapshot, _optimizer)
    compared = fidelity.samples(_snapshot.trials[_optimizer], curves(_url, _snapshot, _optimizer))
    return matters(compared, study.space, noise=measured.found.noise if measured else None)


@st.cache_resource(max_entries=8, show_spinner=False)
def _reliability(
    _url: str, _snapshot: Snapshot, _optimizer: str, key: tuple[str, str, str]
) -> Reliability | None:
    trials = _snapshot.trials[_optimizer]
    return reliabilities.reliability(_snapshot.search, trials, curves(_url, _snapshot, _optimizer))
