"""Names of things that plug in, by group: entry points, ours declared as a plugin's are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from autotune.errors import SpecError, UnknownName

_KINDS = {
    "autotune.backends": "engine",
    "autotune.exports": "export",
    "autotune.optimizers": "optimizer",
    "autotune.samplers": "sampler",
    "autotune.tasks": "model",
}


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        taken = entries.setdefault(entry.name, entry)
        if taken.value != entry.value:
            raise SpecError(
                f"{_KINDS.get(group, group)} '{entry.name}' is registered twice, "
                f"as {taken.value} and as {entry.value}; uninstall one"
            )
    return entries


def names(group: str) -> list[str]:
    """Return the registered names of a group, sorted."""
    return sorted(_entries(group))


def load(group: str, name: str) -> Any:
    """Return what is registered as ``name``; an unknown name suggests the nearest."""
    entry = _entries(group).get(name)
    if entry is None:
        raise UnknownName(unknown(_KINDS.get(group, group), name, names(group)))
    return entry.load()


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence for a name nobody knows."""
    listed = sorted(known)
    close = difflib.get_close_matches(name, listed, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"unknown {kind} '{name}'{hint} (known: {', '.join(listed) or 'none'})"
