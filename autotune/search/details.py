"""What is printed about a stored search, its comparison and a trial, as values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from autotune.command import log as logs
from autotune.errors import NotFound, SpecError
from autotune.pruners.ladder import rungs_of
from autotune.results import noise as noises
from autotune.results.comparison import Comparison, Row, load
from autotune.results.intervals import Estimate
from autotune.results.reliability import Reliability, reliability_of
from autotune.scheduler import widening
from autotune.search.diagnosis import diagnosis
from autotune.search.lock import folder_of
from autotune.search.status import current, settled
from autotune.search.stored import newest, opened, resumable, split, studies, written
from autotune.studies.names import COMMAND
from autotune.studies.records import Role, SearchRecord, SearchState, StudyRecord, TrialRecord
from autotune.studies.store import Store
from autotune.tasks.base import label
from autotune.tasks.command_training import log_of


def search(storage: str | None, study: str | None) -> dict[str, Any]:
    """Return a search and its studies' trials, last losses and judgements."""
    with opened(storage) as store:
        found, chosen = _find(store, study)
        trials = {each.optimizer: trials_of(store, found, each) for each in chosen}
        measured = {each.optimizer: store.measured(each.id) for each in chosen}
        reliabilities = {
            each.optimizer: _reliability(store, found, each, trials[each.optimizer])
            for each in chosen
        }
        ranges = {each.optimizer: _ranges(store, each, trials[each.optimizer]) for each in chosen}
        ended = {
            each.optimizer: (store.recommendation(each.id) or {}).get("ended") for each in chosen
        }
        compared = load(store, found.name)
        rows = {row.optimizer: row for row in compared.rows}
        noise = {each.optimizer: _noise(store, found, rows[each.optimizer]) for each in chosen}
        exports = {each.optimizer: _exports(store, each) for each in chosen}
    return {
        "search": found,
        "trials": trials,
        "measured": {  # by number, as the user knows trials
            name: {each.number: last for each in those if (last := measured[name].get(each.id))}
            for name, those in trials.items()
        },
        "reliability": reliabilities,
        "ranges": ranges,
        "ended": {name: text for name, text in ended.items() if text},
        "nothing_learned": {name: text for name in trials if (text := rows[name].nothing_learned)},
        "noise": {name: one for name, one in noise.items() if one},
        "exports": {name: those for name, those in exports.items() if those},
        "validations": [one for one in compared.validations if one.optimizer in trials],
        "refinements": [one for one in compared.refinements if one.optimizer in trials],
        "judged": {name: _judged(rows[name]) for name in trials},
        "resume": resumable([found], storage),
    }


def comparison(store: Store, name: str) -> Comparison:
    """Return what a search has found so far, as it stands now; raises NotFound."""
    found = load(store, name)
    return replace(found, search=current(found.search, store))


def trial(storage: str | None, study: str | None, number: int) -> dict[str, Any]:
    """Return one trial and its curve."""
    with opened(storage) as store:
        found, chosen = _find(store, study)
        if len(chosen) != 1:
            listed = ", ".join(each.optimizer for each in chosen)
            raise SpecError(
                f"search '{found.name}' has a trial {number} of each of {listed}; "
                f"name one: autotune show {written(found.name, chosen[0].optimizer)} {number}"
            )
        trials = {each.number: each for each in trials_of(store, found, chosen[0])}
        if number not in trials:
            raise NotFound(
                f"no trial {number} of {chosen[0].optimizer} in search '{found.name}'; "
                f"its {len(trials)} trials count from 0"
            )
        curve = store.curve(trials[number].id)
    return {
        "search": found.name,
        "optimizer": chosen[0].optimizer,
        "trial": trials[number],
        "curve": curve,
    }


def log(storage: str | None, study: str | None, number: int) -> Iterator[bytes]:
    """Return what a trial's command printed, as far as it is kept, piece by piece.

    Raises:
        SpecError: The trial is of no command, or its log is not on this machine.
    """
    found = trial(storage, study, number)
    record: TrialRecord = found["trial"]
    who = f"trial {number} of {found['search']}/{found['optimizer']}"
    with opened(storage) as store:
        if COMMAND not in store.search(found["search"]).task:
            raise SpecError(f"{who} ran no command, so it has no log")
        folder = folder_of(store.url, found["search"])
    path = log_of(folder, label(found["optimizer"], record.id))
    if not path.is_file():
        raise SpecError(f"{who} has no log at {path}: it has not begun, or another machine ran it")
    return logs.read(path)


def search_of(storage: str | None, study: str | None) -> SearchRecord:
    """Return the search of a study; the newest search if none is named."""
    with opened(storage) as store:
        return _find(store, study)[0]


def _find(store: Store, study: str | None) -> tuple[SearchRecord, tuple[StudyRecord, ...]]:
    if study is None:
        found = current(newest(store), store)
        return found, found.studies
    name, optimizer = split(study)
    found = current(store.search(name), store)
    return found, studies(found, optimizer)


def trials_of(store: Store, search: SearchRecord, study: StudyRecord) -> list[TrialRecord]:
    """Return a study's trials; those that nobody runs any more as they were last saved."""
    trials = store.trials(study.id)
    return trials if search.state is SearchState.RUNNING else list(map(settled, trials))


def _reliability(
    store: Store, search: SearchRecord, study: StudyRecord, trials: Sequence[TrialRecord]
) -> Reliability | None:
    """Return how reliable a study's measurements are; None for a task without steps."""
    if not search.task.get("steps"):
        return None
    rungs = rungs_of(search.task).steps
    return reliability_of(trials, store.losses(study.id, rungs), rungs)


def _ranges(store: Store, study: StudyRecord, trials: Sequence[TrialRecord]) -> list[str]:
    """Return which ranges were widened, and warn if the recommended setting lies at an end."""
    number = (store.recommendation(study.id) or {}).get("source")
    chosen = [each.setting for each in trials if number and each.number == number]
    found = [text for each in chosen for text in widening.warnings(each.params, study.space)]
    return [*widening.widened_ranges(study.space), *found]


def _exports(store: Store, study: StudyRecord) -> list[dict[str, Any]]:
    """Return which files were written from a study and when, without their content."""
    return [{k: one[k] for k in ("format", "path", "created")} for one in store.exports(study.id)]


def _noise(store: Store, search: SearchRecord, row: Row) -> dict[str, Any] | None:
    """Return what was measured of the noise of gradients, and what follows; None without it."""
    study = next(each for each in search.studies if each.optimizer == row.optimizer)
    found = noises.load(store, store.trials(study.id, Role.JUDGE), row.tuned.setting)
    batch = search.task.get("batch_size")
    if found is None or not isinstance(batch, int):
        return None
    said = diagnosis(row.optimizer, found, batch)
    return {"measured": found, "scale": found.scale, "diagnosis": said}


def _judged(row: Row) -> Estimate | None:
    """Return the mean loss over fresh seeds; None if a run failed, which no mean can count."""
    return None if row.tuned.failures else row.tuned.loss
