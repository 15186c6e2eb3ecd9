"""What has changed between a stored search and what is asked for now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotune.errors import AlreadyThere
from autotune.search.facts import changed_facts
from autotune.search.growth import NEW, grows
from autotune.studies.records import SearchRecord
from autotune.studies.spec import SearchSpec, differences, parse
from autotune.studies.store import Store


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
