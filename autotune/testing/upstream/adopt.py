"""timm's Adopt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    found = dict(hyper)
    found["decay"] = "decoupled" if found.pop("decoupled") else "coupled"
    found["clip_exponent"] = found.pop("clip_exp")
    return "adopt", found
