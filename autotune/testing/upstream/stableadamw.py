"""StableAdamW of torch-optimi."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments, which are the same."""
    return "stableadamw", dict(hyper)
