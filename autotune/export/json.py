"""Write the setting and where it comes from as JSON; for programs."""

from __future__ import annotations

import json

from autotune.results.tuned import Tuned, as_data

tables = True  # a schedule may be one
suffix = ".json"


def render(tuned: Tuned) -> str:
    """Write the whole record as one JSON document."""
    return json.dumps(as_data(tuned), indent=2, allow_nan=False) + "\n"
