"""Begin, change and delete a search that remote workers train."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from autotune import registry
from autotune.errors import AlreadyThere, AutotuneError, NotFound, SpecError
from autotune.pruners.ladder import rungs_of
from autotune.scheduler import full_runs
from autotune.scheduler.policy import Policy
from autotune.search import delete
from autotune.search.joining import prepare
from autotune.search.opening import Prepared, beginning, open_search, registered
from autotune.search.renewal import TRIES
from autotune.studies import remote
from autotune.studies.names import listing, suggestion
from autotune.studies.records import (
    Command,
    Role,
    SearchRecord,
    SearchState,
    TrialRecord,
    TrialState,
)
from autotune.studies.remote import Standing
from autotune.studies.spec import ASKED, SearchSpec, differences, parse
from autotune.studies.store import Store

FREE = ("budget", "seeds", "finalists")  # what a stored search may get more of
BUSY = "another process decides on search '{}' now; send the same again"


class Differs(AlreadyThere):
    """A search of that name has another spec.

    Args:
        text: A sentence.
        keys: The dotted keys that differ.
    """

    def __init__(self, text: str, keys: list[str]) -> None:
        super().__init__(text)
        self.keys = keys


class Busy(AutotuneError):
    """Another process decides at this moment."""


def spec_of(task: Mapping[str, Any], given: Mapping[str, Any], name: str) -> SearchSpec:
    """Return the spec of a search that remote workers train; raises SpecError.

    Args:
        task: ``external`` or ``registered``: ``model``, perhaps ``steps`` and ``batch_size``; of an
            external one perhaps ``data``.
        given: Other keys of a spec.
        name: Of the search.
    """
    if task.get("external") is not None:
        own = {"engine": ASKED, "workers": 1}
        return parse({**task["external"], **given, "name": name, **own})
    chosen = task["registered"]
    known = registry.names("autotune.tasks")
    if chosen["model"] not in known:
        # Families as hf: and timm: read files of the server, which are not a caller's to name.
        hint = suggestion(chosen["model"], known) or f" {listing(known)}"
        raise SpecError(
            "task.registered.model must be a task that is installed here, as another model is "
            "code, which is never taken over HTTP: give task.external and build it in the worker, "
            f"or begin the search where its file is; got '{chosen['model']}'{hint}"
        )
    return parse({**chosen, **given, "name": name, "device": "cpu"})


def _prepared(spec: SearchSpec) -> Prepared:
    return prepare(spec) if spec.asked else registered(spec)


def foreseen(spec: SearchSpec) -> dict[str, Any]:
    """Return what is known of a search before it begins; raises SpecError for what cannot be."""
    prepared, budget = _prepared(spec), spec.budget.resolved
    rungs, runs = rungs_of(prepared.facts), budget.runs
    if budget.trials is not None:
        policy = Policy.of(spec)
        searching = full_runs.search_runs(policy, budget.trials, rungs.from_safe())
        runs = min(runs or float("inf"), searching + full_runs.final_runs(policy))
    spaces = {name: space.as_data() for name, space in prepared.spaces.items()}
    return {"rungs": list(rungs.steps), "spaces": spaces, "runs": runs}


def begin(spec: SearchSpec, store: Store) -> bool:
    """Store a search; return whether it is new.

    Raises:
        Differs: A search of that name has another spec.
        SpecError: It cannot be searched.
    """
    # A task that is installed takes seconds to build: not for what is only stated again.
    prepared = _prepared(spec) if spec.asked else None
    stored = _stored(spec.search_name, store)
    if stored is None:
        try:
            open_search(beginning(spec, prepared or _prepared(spec)), store)
        except AlreadyThere:  # another process was faster
            stored = store.search(spec.search_name)
        else:
            return True
    _refuse_other(spec, stored)
    return False


def _stored(name: str, store: Store) -> SearchRecord | None:
    try:
        return store.search(name)
    except NotFound:
        return None


def _refuse_other(spec: SearchSpec, stored: SearchRecord) -> None:
    old, name = parse(dict(stored.spec)), stored.name
    keys = differences(old, spec)
    if old.asked != spec.asked:
        keys = ["task", *keys]
    keys += [key for key in FREE if _resolved(old, key) != _resolved(spec, key)]
    if keys:
        listed = ", ".join(keys)
        raise Differs(
            f"search '{name}' is there already and differs in {listed}; give another name, or "
            f"change {', '.join(FREE)} of the one that is there by PATCH",
            keys,
        )


def _resolved(spec: SearchSpec, key: str) -> Any:
    return spec.budget.resolved if key == "budget" else getattr(spec, key)


@contextmanager
def turn(store: Store, standing: Standing, who: str) -> Iterator[Standing]:
    """Change a search while nobody decides on it; yields how it stands now.

    Raises:
        Busy: Another process decides.
    """
    if not store.take_turn(standing.id, who):
        raise Busy(BUSY.format(standing.name))
    try:
        yield remote.standing(store, standing.name)
    finally:
        store.leave_turn(standing.id, who)


def change(store: Store, name: str, command: Command | None, more: Mapping[str, Any]) -> None:
    """Change how much a search spends, and tell its workers a command.

    Told to continue, what failed is tried again, as a repeated command does.

    Raises:
        AlreadyThere: It is not one that remote workers train.
        SpecError: It cannot be so.
    """
    stored = store.search(name)
    if more:
        old = parse(dict(stored.spec))
        if not old.asked:
            raise AlreadyThere(
                f"search '{name}' trains its trials by itself; give it more by: "
                f"autotune search --resume"
            )
        spec = parse({**old.model_dump(mode="json"), **more})
        full_runs.check_budget(Policy.of(spec))
        new = spec.model_dump(mode="json")
        if new != dict(stored.spec):
            store.update_search(name, spec=new, state=SearchState.RUNNING)
    if command is not None:
        store.tell(name, command)
    if command is Command.CONTINUE:
        again = store.failed(stored.id, most=TRIES)
        store.take_up(stored.id, again)
        if again and stored.state is SearchState.COMPLETE:
            store.update_search(name, state=SearchState.RUNNING)


def void(store: Store, name: str, trial: TrialRecord, reason: str, *, again: bool) -> TrialRecord:
    """Let nothing that was measured of a trial count; a search that was over goes on.

    Args:
        store: Where the search is.
        name: Of the search.
        trial: The trial.
        reason: Why.
        again: Whether it is run again, from its first step.

    Raises:
        SpecError: Its seed is needed to compare others on, or it was never run here.
    """
    if trial.role is Role.ADDED:
        return _void_added(store, trial, reason, again=again)
    if trial.role is not Role.SEARCH and not again:
        raise SpecError(
            f"trial {trial.number} was run to {trial.role} a setting, on a seed that others share, "
            'so it has to be run again: give "again": true'
        )
    if trial.final and trial.state is TrialState.FAILED and not again:
        return trial
    kept = store.void(trial.id, f"void: {reason}", again=again)
    if store.search(name).state is SearchState.COMPLETE:
        store.update_search(name, state=SearchState.RUNNING)
    return kept


def _void_added(store: Store, trial: TrialRecord, reason: str, *, again: bool) -> TrialRecord:
    """Let samplers forget a trial that was measured elsewhere; what is over stays over."""
    if again:
        raise SpecError(
            f"trial {trial.number} was measured elsewhere, so it cannot be run again here; leave "
            "'again' out"
        )
    if trial.state is TrialState.FAILED:
        return trial
    return store.void(trial.id, f"void: {reason}", again=False)


def remove(store: Store, name: str) -> None:
    """Delete a search and all of it; raises AlreadyThere while workers run it."""
    delete.refuse_workers(store, name)
    delete.delete(store.url, store.search(name))
