"""A command that is repeated: what failed is tried again, what measured nothing gives way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from autotune.errors import NothingUsable
from autotune.scheduler.study_state import StudyState
from autotune.search.changes import another, changed_since
from autotune.search.facts import changed_facts
from autotune.search.opening import (
    Checked,
    Prepared,
    as_begun,
    beginning,
    going_on,
    prepare,
    stored_as,
)
from autotune.studies.records import SearchRecord, TrialRecord, TrialState
from autotune.studies.spec import SearchSpec, differences, parse
from autotune.studies.store import Store

GOING = {TrialState.PAUSED, TrialState.RUNNING}
MENDED = "mend it and repeat the command: what failed is tried again"
TRIES = 3  # failures of a trial that a search with losses takes for its setting's


def renewed(spec: SearchSpec, store: Store, prepared: Prepared | None = None) -> Checked:
    """Check a search that a command begins or repeats: what failed in it is tried again.

    One without a loss gives way to another of its name, for nothing is lost with it.

    Args:
        spec: What to search.
        store: Where it may be stored.
        prepared: What ``prepare`` returned, if it was called before.

    Raises:
        AlreadyThere: The name belongs to another search that has measured something.
    """
    stored = stored_as(spec, store)
    if stored is None:
        return beginning(spec, prepared or prepare(spec))
    given, spec = spec, as_begun(spec, stored)
    if prepared is None or spec != given:
        prepared = prepare(spec, stored=stored)
    empty, changed = _empty(stored, store), changed_since(spec, stored, prepared.facts)
    if empty and not _waits(stored, prepared.facts, store):
        changed = list(dict.fromkeys([*changed, *differences(parse(dict(stored.spec)), spec)]))
        if changed:
            anew = beginning(given, prepared if spec == given else prepare(given))
            return replace(anew, replaces=(stored, ", ".join(changed)))
    elif changed:
        raise another(stored, changed, store)
    failed = store.failed(stored.id, most=None if empty else TRIES)
    return going_on(spec, stored, prepared, failed)


def news(found: Checked) -> str | None:
    """Say what becomes of a stored search, if it is more than to go on; else None."""
    name = found.spec.search_name
    if found.replaces is not None:
        return (
            f"search '{name}' had no loss yet and began with another {found.replaces[1]}: "
            "it begins anew, nothing is lost"
        )
    if not found.failed:
        return None
    one = len(found.failed) == 1
    trials = "1 trial that failed is" if one else f"{len(found.failed)} trials that failed are"
    return f"search '{name}': {trials} tried again"


def _empty(search: SearchRecord, store: Store) -> bool:
    """Return whether no trial has a loss; what one measured before it failed is none."""
    measured = {trial for study in search.studies for trial in store.measured(study.id)}
    return measured <= set(store.failed(search.id))


def _waits(search: SearchRecord, facts: Mapping[str, Any], store: Store) -> bool:
    """Return whether a search has a trial that could go on: with other code, none could."""
    if changed_facts(search.task, facts):
        return False
    trials = [trial for study in search.studies for trial in store.trials(study.id)]
    return any(trial.step and trial.state in GOING for trial in trials)


def unfinished(state: StudyState, seeds: int, enough: str) -> str:
    """Say why a study of a search that ended was not judged, and what to do.

    ``enough``: " to about 3 minutes", or nothing where no number is known.
    """
    optimizer, trials = state.study.optimizer, list(state.trials.values())
    reasons = [trial.reason for trial in trials if trial.state is TrialState.FAILED]
    if reasons and len(reasons) == len(trials):
        every = f"all {len(trials)} trials of {optimizer} failed"
        return f"{every}, the first said: {reasons[0]}; {MENDED}"
    return (
        f"the budget ended before {optimizer} was judged on {seeds} seeds. "
        f"Raise it{enough} and run the same command again"
    )


def refuse_nothing(name: str, trials: Sequence[TrialRecord]) -> None:
    """Raise NothingUsable if no trial of a search reached its last step with a loss."""
    if any(t.state is TrialState.COMPLETE and t.loss is not None for t in trials):
        return
    reasons = [t.reason for t in trials if t.reason and t.state is not TrialState.STOPPED]
    why = f"the first said: {reasons[0]}" if reasons else "the budget ended first, raise it"
    again = f"; {MENDED}" if any(t.state is TrialState.FAILED for t in trials) else ""
    raise NothingUsable(f"no trial of '{name}' reached its end with a loss; {why}{again}")
