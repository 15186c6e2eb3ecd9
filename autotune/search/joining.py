"""A search whose trials a script's own loop trains: its first process begins it, others join it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from autotune.config import check_policies
from autotune.errors import AlreadyThere
from autotune.scheduler.full_runs import check_budget
from autotune.scheduler.policy import Policy
from autotune.search import earlier, foreign
from autotune.search.changes import another, changed_since
from autotune.search.events import Listener, Notice
from autotune.search.growth import Growth
from autotune.search.lock import coordinator, exclusive, folder_of
from autotune.search.opening import (
    Checked,
    Opened,
    Prepared,
    check_spaces,
    going_on,
    open_search,
    stored_as,
)
from autotune.search.renewal import news, renewed
from autotune.search.worker import name
from autotune.space.presets import over_runs, spaces_of
from autotune.studies.records import Command, SearchRecord, SearchState
from autotune.studies.spec import SearchSpec, differences, parse
from autotune.studies.store import Store

BEGUN_EVERY = 0.1  # seconds between looks whether another process has begun the search


@dataclass(frozen=True, kw_only=True)
class Seat:
    """A process's place in a search.

    Args:
        spec: The spec that the search runs with.
        worker: Name of this process in the store.
        first: Whether this process holds the search's lock.
        opened: The search; None where nothing of it is left to do.
        growth: What the stored search gained.
    """

    spec: SearchSpec
    worker: str
    first: bool
    opened: Opened | None
    growth: Growth = field(default_factory=Growth)


def prepare(spec: SearchSpec) -> Prepared:
    """Return what is known of a search before any trial; raises SpecError for what cannot be."""
    check_policies(spec)
    check_budget(Policy.of(spec))
    spaces = spaces_of(spec)
    check_spaces(spec, spaces)
    foreign.check(spaces)
    earlier.check(spec, spaces)
    if spec.steps is not None:
        spaces = over_runs(spaces, spec.steps)
    return Prepared(facts=_facts(spec), spaces=spaces)


def _facts(spec: SearchSpec) -> dict[str, Any]:
    facts = {
        key: getattr(spec, key) for key in ("model", "data", "steps", "batch_size", "image_size")
    }
    return {key: value for key, value in facts.items() if value is not None}


def join(spec: SearchSpec, store: Store, listen: Listener, lock: ExitStack) -> Seat:
    """Begin or go on with a search, or join it while another process runs it.

    Args:
        spec: What is asked for.
        store: Where it is stored.
        listen: Told what becomes of a stored search.
        lock: Takes the search's lock, where no other process of this machine has it.

    Raises:
        AlreadyThere: The name belongs to a search with other data, steps or optimizers.
        SpecError: It belongs to a search that a script cannot ask for.
    """
    prepared, folder = prepare(spec), folder_of(store.url, spec.search_name)
    while True:
        stored = stored_as(spec, store)
        try:
            lock.enter_context(exclusive(folder, spec.search_name))
        except AlreadyThere:
            # The other process may be about to store it, or to refuse it and leave.
            if stored is not None:
                return _beside(spec, prepared, stored, store, listen)
            time.sleep(BEGUN_EVERY)
        else:
            asked = renewed(spec, store, prepared)
            return _first(asked, coordinator(store.url, folder), store, listen)


def _first(asked: Checked, worker: str, store: Store, listen: Listener) -> Seat:
    """Begin a search, or go on with one that nobody else of this machine runs."""
    if asked.finished:
        return Seat(spec=asked.spec, worker=worker, first=True, opened=None)
    if text := news(asked):
        listen(Notice(text=text))
    # The process that held the lock before is dead, so its leases end at once.
    opened = open_search(asked, store, dead=worker, blame=False)
    store.tell(asked.spec.search_name, Command.CONTINUE)  # an earlier pause or stop is over
    return Seat(spec=asked.spec, worker=worker, first=True, opened=opened, growth=asked.growth)


def _beside(
    spec: SearchSpec, prepared: Prepared, stored: SearchRecord, store: Store, listen: Listener
) -> Seat:
    """Join a search as it is while another process runs it."""
    if changed := changed_since(spec, stored, prepared.facts):
        raise another(stored, changed, store)
    running = parse(dict(stored.spec))
    if grown := differences(running, spec):
        raise AlreadyThere(
            f"search '{stored.name}' is being run with another {', '.join(grown)}: it can gain "
            "those once no other process runs it; wait for them or stop them"
        )
    if stored.state is SearchState.COMPLETE:
        return Seat(spec=running, worker="", first=False, opened=None)
    if running.budget.resolved != spec.budget.resolved:
        text = f"search '{stored.name}' goes on with the budget that it is being run with"
        listen(Notice(text=text))
    asked: Checked = going_on(running, stored, prepared)
    return Seat(spec=running, worker=name(), first=False, opened=open_search(asked, store))
