"""timm's LAMB, which is NVIDIA's rule, and that of Win's authors without Win."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NOT_OURS = ("caution", "decoupled_decay")


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    for name in _NOT_OURS:
        if hyper.get(name):
            raise ValueError(f"lamb has no {name}, got {hyper[name]!r}")
    found = {name: value for name, value in hyper.items() if name not in _NOT_OURS}
    return "lamb", {**found, "max_grad_norm": hyper["max_grad_norm"] or 0.0}
