"""Write the setting and where it comes from as JSON; for programs."""

from __future__ import annotations

import json
from dataclasses import asdict

from autotune.results.tuned import Tuned

suffix = ".json"


def render(tuned: Tuned) -> str:
    """Write the whole record as one JSON document."""
    return json.dumps(asdict(tuned), indent=2, allow_nan=False) + "\n"
