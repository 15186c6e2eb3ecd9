"""lucidrains' cautious Lion, whose mask may keep a share of what goes against the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    return "lion", {**hyper, "cautious": True}
