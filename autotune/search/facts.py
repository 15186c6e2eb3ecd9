"""What a task is, as facts that are stored with a search: what may not change while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.studies.records import own_data, own_loop
from autotune.tasks.content import MODULE

# Facts of a task that may not change when a search continues, and their names in messages.
KEPT_FACTS = {
    "data_hash": "content of its data or model file",
    "data_identity": "identity of its data (Problem(identity=...) states it)",
    "model_hash": "content of its data or model file",
    "steps": "steps",
    "batch_size": "batch size",
    "image_size": "image size",
    "parameters": "number of parameters",
    "device": "kind of device",
    "precision": "precision",
}


def changed_facts(task: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Return in words what differs between a stored task and this one."""
    kept = dict(KEPT_FACTS)
    if own_data(task):
        del kept["batch_size"]  # the file's hash says it, and versions count it otherwise
    if "image_size" not in task or "image_size" not in facts:
        del kept["image_size"]  # workers of earlier versions do not tell it
    words = [word for key, word in kept.items() if task.get(key) != facts.get(key)]
    # Searches that were begun before modules were facts have none.
    modules = [key for key in task if key.startswith(MODULE) and task[key] != facts.get(key)]
    words += [f"content of {key.removeprefix(MODULE)}" for key in modules]
    return list(dict.fromkeys(words))


def identity(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a task that may not change while it is searched."""
    return {k: v for k, v in facts.items() if k in KEPT_FACTS or k.startswith(MODULE)}


def another_task(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return in words what makes two stored searches of different tasks; empty: they are of one.

    A name says it only where nothing is known of what stands behind it.
    """
    words = changed_facts(one, other)
    behind = {"model": ("model_hash",), "data": ("data_hash", "data_identity")}
    for name, known in behind.items():
        told = any(key in one and key in other for key in known)
        if one.get(name) != other.get(name) and not told:
            words.insert(0, name)
    return words


def unknown_size(task: Mapping[str, Any]) -> str | None:
    """Return what to ask for where nobody knows how many samples a batch holds."""
    if not own_data(task) or "batch_size" in task or own_loop(task):
        return None
    return (
        "how many samples a batch holds cannot be told from its tensors; state it as "
        "Problem(batch_size=...), so that exports name it beside lr"
    )
