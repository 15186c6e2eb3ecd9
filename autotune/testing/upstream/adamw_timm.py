"""timm's AdamW, which may be cautious."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    found = dict(hyper)
    cautious = found.pop("caution", False)
    return "adamw", {**found, "cautious": cautious}
