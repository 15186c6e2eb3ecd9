"""The status of a search; its lock is checked too, because a killed process stores nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from autotune.search.lock import COORDINATOR, folder_of, is_free
from autotune.studies import urls
from autotune.studies.attempts import lease
from autotune.studies.reading import Reader
from autotune.studies.records import (
    SearchRecord,
    SearchState,
    StudyRecord,
    TrialRecord,
    TrialState,
)


def current(search: SearchRecord, store: Reader) -> SearchRecord:
    """Return a search with its present state: interrupted if no process runs it any more.

    The lock shows whether its command runs, if the file is on this machine; leases show workers.
    """
    if search.state is SearchState.RUNNING and _abandoned(search, store):
        search = store.search(search.name)  # it may have ended meanwhile
        if search.state is SearchState.RUNNING:
            search = replace(search, state=SearchState.INTERRUPTED)
    if search.state is SearchState.RUNNING:
        return search
    return replace(search, studies=tuple(_recounted(study, store) for study in search.studies))


def settled(trial: TrialRecord) -> TrialRecord:
    """Return a trial as last saved, for a search that nobody runs any more."""
    if trial.state is not TrialState.RUNNING:
        return trial
    return replace(trial, state=TrialState.PAUSED if trial.step else TrialState.WAITING)


def _abandoned(search: SearchRecord, store: Reader) -> bool:
    workers, silent = store.holders(search.id)
    if urls.file(store.url) is None:
        return not workers and silent > lease().total_seconds()
    free = is_free(folder_of(store.url, search.name)) is True
    return free and not workers - {COORDINATOR}


def _recounted(study: StudyRecord, store: Reader) -> StudyRecord:
    if not study.counts.get(TrialState.RUNNING):
        return study
    left = store.trials(study.id, state=TrialState.RUNNING)
    others = {s: count for s, count in study.counts.items() if s != TrialState.RUNNING}
    states = Counter(others) + Counter(settled(trial).state for trial in left)
    return replace(study, counts={str(state): count for state, count in states.items()})
