"""The output of --json: one document with a schema version, which every JSON parser reads."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from autotune.studies.setting import Setting

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SCHEMA_VERSION = 1


def document(**content: Any) -> str:
    """Return one JSON document holding ``content``."""
    return json.dumps({"schema_version": SCHEMA_VERSION} | plain(content), indent=2)


def line(**content: Any) -> str:
    """Return ``content`` as one line of JSON."""
    return json.dumps(plain(content), separators=(",", ":"))


def plain(value: Any) -> Any:
    """Return ``value`` in JSON's types; NaN and infinity, which JSON lacks, become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: plain(item) for name, item in _fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int) else str(value)


def _fields(value: DataclassInstance) -> Iterator[tuple[str, Any]]:
    """Yield a value's fields; a setting's parts stand among those of its owner.

    An owner prints all of its setting unless its field's metadata name the parts ``printed``.
    """
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if isinstance(item, Setting):
            parts = dict(_fields(item))
            yield from ((name, parts[name]) for name in field.metadata.get("printed", parts))
        else:
            yield field.name, item
