"""What has changed between a stored search and what is asked for now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotune.errors import AlreadyThere
from autotune.search.growth import NEW, grows
from autotune.studies.records import SearchRecord, own_data
from autotune.studies.spec import SearchSpec, differences, parse
from autotune.studies.store import Store
from autotune.tasks.function import MODULE

# Facts of a task that may not change when a search continues, and their names in messages.
KEPT_FACTS = {
    "data_hash": "content of its data or model file",
    "data_identity": "identity of its data (Problem(identity=...) states it)",
    "model_hash": "content of its data or model file",
    "steps": "steps",
    "batch_size": "batch size",
    "parameters": "number of parameters",
    "device": "kind of device",
    "precision": "precision",
}


def changed_since(spec: SearchSpec, search: SearchRecord, facts: Mapping[str, Any]) -> list[str]:
    """Return in words what keeps trials of a stored search and of this one apart."""
    differing = differences(parse(dict(search.spec)), spec)
    changed = [key for key in differing if not grows(key)] + changed_facts(search.task, facts)
    return list(dict.fromkeys(changed))


def another(search: SearchRecord, changed: Sequence[str], store: Store) -> AlreadyThere:
    """Return the error for a name that belongs to a search that differs."""
    return AlreadyThere(
        f"search '{search.name}' is already in {store} with another {', '.join(changed)}; {NEW}"
    )


def changed_facts(task: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Return in words what differs between a stored task and this one."""
    kept = dict(KEPT_FACTS)
    if own_data(task):
        del kept["batch_size"]  # the file's hash says it, and versions count it otherwise
    words = [word for key, word in kept.items() if task.get(key) != facts.get(key)]
    # Searches that were begun before modules were facts have none.
    modules = [key for key in task if key.startswith(MODULE) and task[key] != facts.get(key)]
    words += [f"content of {key.removeprefix(MODULE)}" for key in modules]
    return list(dict.fromkeys(words))


def identity(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a task that may not change while it is searched."""
    return {k: v for k, v in facts.items() if k in KEPT_FACTS or k.startswith(MODULE)}
