"""The output of --json: one document with a schema version, which every JSON parser reads."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

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
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int) else str(value)
