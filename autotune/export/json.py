"""Write the setting and where it comes from as JSON; for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from autotune.results.best import Ranked
from autotune.results.tuned import SCHEMA_VERSION, Tuned

suffix = ".json"


def render(tuned: Tuned) -> str:
    """Write the whole record as one JSON document."""
    return _written(asdict(tuned))


def render_best(found: Sequence[Ranked]) -> str:
    """Write the records of several settings, the recommended one first, as one document.

    Each is what ``render`` writes, with its rank, the last stage it took part in and its losses by
    seed. ``autotune search --try-first`` reads it.
    """
    settings = [
        {"rank": one.rank, "stage": one.stage, "losses": one.losses, **asdict(one.record)}
        for one in found
    ]
    return _written({"schema_version": SCHEMA_VERSION, "settings": settings})


def _written(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=2, allow_nan=False) + "\n"
