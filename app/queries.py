"""What pages read from the store, kept in memory until the store says that it changed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import streamlit as st

from autotune.app import fidelity, kept
from autotune.app import reliability as reliabilities
from autotune.app.axes import Axis, axes
from autotune.app.fidelity import Sample
from autotune.app.importance import Matters, matters
from autotune.app.kept import Kept, KeptPoints, Snapshot
from autotune.app.points import Points
from autotune.app.reliability import Reliability
from autotune.errors import NotFound
from autotune.search.status import current, settled
from autotune.studies import following, remote, urls
from autotune.studies.records import (
    AttemptRecord,
    Command,
    SearchRecord,
    SearchState,
    TrialRecord,
)
from autotune.studies.store import Store

LONG = 1000  # trials, of which what takes seconds is not measured at every change
KEPT = 32  # values of searches and their optimizers that stay in memory


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
        signature = store.signature(name)
        read = partial(kept.snapshot, store, name, signature)
        found: Snapshot = _kept("snapshot", url, name).at(signature, read)
        return _standing(found, current(found.search, store))


def _standing(snapshot: Snapshot, search: SearchRecord) -> Snapshot:
    """Return a search as it stands: a kill changes no signature."""
    if search.state is snapshot.search.state:
        return snapshot
    trials = {name: tuple(map(settled, those)) for name, those in snapshot.trials.items()}
    return replace(snapshot, search=search, trials=trials)


def curves(url: str, snapshot: Snapshot, optimizer: str) -> Points:
    """Return the curves of one optimizer's trials."""
    with Store(url, read_only=True) as store:
        read = partial(kept.curves, store, snapshot.study(optimizer), snapshot.search)
        held: Kept[KeptPoints] = _kept("curves", url, snapshot.search.name, optimizer)
        return held.at(snapshot.signature, read).points


def newest_attempts(
    url: str, snapshot: Snapshot, optimizer: str, limit: int
) -> list[AttemptRecord]:
    """Return the workers' last goes at the trials of one optimizer."""
    with Store(url, read_only=True) as store:
        return following.newest(store, snapshot.study(optimizer).id, limit)


def open_attempts(url: str, snapshot: Snapshot, optimizer: str) -> list[AttemptRecord]:
    """Return the workers' goes at the trials of one optimizer that did not end."""
    with Store(url, read_only=True) as store:
        return following.open_attempts(store, snapshot.study(optimizer).id)


def attempts_at(url: str, trial: TrialRecord) -> list[AttemptRecord]:
    """Return every worker's go at a trial."""
    with Store(url, read_only=True) as store:
        return following.attempts_at(store, trial.id)


def sample(url: str, snapshot: Snapshot, optimizer: str) -> tuple[Sample, list[Axis]]:
    """Return the settings that may be compared with each other, and the axes they vary on."""

    def compared(_: object) -> tuple[Sample, list[Axis]]:
        found = fidelity.sample(snapshot.trials[optimizer], curves(url, snapshot, optimizer))
        space = snapshot.study(optimizer).space
        return found, axes(space, [*found.trials, *found.diverged])

    held: Kept[tuple[Sample, list[Axis]]] = _kept("sample", url, snapshot.search.name, optimizer)
    return held.at(snapshot.signature, compared)


def importance(url: str, snapshot: Snapshot, optimizer: str) -> Matters:
    """Return which parameters matter, or why that cannot be said.

    While a long search runs, that was measured when it had made all but a hundredth of its steps.
    """
    steps = sum(trial.step for trial in snapshot.trials[optimizer])

    def measured(last: tuple[int, Matters] | None) -> tuple[int, Matters]:
        if last and _hardly_more(snapshot, optimizer, steps, last[0]):
            return last
        compared = fidelity.samples(snapshot.trials[optimizer], curves(url, snapshot, optimizer))
        known = reliability(url, snapshot, optimizer)
        space = snapshot.study(optimizer).space
        noise = known.found.noise if known else None
        return steps, matters(compared, space, noise=noise)

    held: Kept[tuple[int, Matters]] = _kept("importance", url, snapshot.search.name, optimizer)
    with st.spinner("Measuring importance"):
        return held.at(snapshot.signature, measured)[1]


def _hardly_more(snapshot: Snapshot, optimizer: str, steps: int, before: int) -> bool:
    """Return whether a study is long, runs, and made hardly more steps than before."""
    long = len(snapshot.trials[optimizer]) >= LONG
    running = snapshot.search.state is SearchState.RUNNING
    return long and running and before <= steps < before + before // 100


def reliability(url: str, snapshot: Snapshot, optimizer: str) -> Reliability | None:
    """Return what an optimizer's measurements are worth; None for a task without steps."""

    def found(_: object) -> Reliability | None:
        trials = snapshot.trials[optimizer]
        points = curves(url, snapshot, optimizer)
        return reliabilities.reliability(snapshot.search, trials, points)

    held: Kept[Reliability | None] = _kept("reliability", url, snapshot.search.name, optimizer)
    return held.at(snapshot.signature, found)


# Records are frozen, so pages share them: cache_data would copy ten thousand at every click.
@st.cache_resource(max_entries=2, show_spinner=False)
def _searches(url: str, signature: str) -> tuple[SearchRecord, ...]:
    with Store(url, read_only=True) as store:
        return tuple(store.searches())


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _kept(what: str, url: str, *names: str) -> Kept[Any]:
    return Kept()
