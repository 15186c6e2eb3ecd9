"""``schedulefree``'s AdamW; a step's recorded lr has its warm-up in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    return "adamw-sf", {name: value for name, value in hyper.items() if name != "warmup_steps"}
