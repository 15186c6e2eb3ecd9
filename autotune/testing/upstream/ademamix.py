"""Apple's AdEMAMix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    found = dict(hyper)
    for name in ("alpha_warmup", "beta3_warmup"):
        found[name] = found[name] or 0
    return "ademamix", found
