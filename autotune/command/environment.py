"""The variables of a command: the user's own, whatever a worker has set for itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

GIVEN = "AUTOTUNE_GIVEN"  # variable of a worker: what the user had set, where the worker differs


def remembered(names: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the variable in which a worker finds what the user had set.

    Args:
        names: Variables that the worker has others of.
        given: The user's environment.
    """
    return {GIVEN: json.dumps({name: given.get(name) for name in names})}


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a command that a process starts.

    Args:
        own: Those of the process.
    """
    found = {"PYTHONUNBUFFERED": "1", **own}  # else a script's reports wait in its buffer
    for name, value in json.loads(found.pop(GIVEN, "{}")).items():
        found.pop(name, None)
        if value is not None:
            found[name] = value
    return found
