"""``schedulefree``'s RAdam, which takes no step before it knows the size of gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    if not hyper["silent_sgd_phase"]:
        raise ValueError("radam-sf takes no step in its first phase, got silent_sgd_phase=False")
    return "radam-sf", {name: v for name, v in hyper.items() if name != "silent_sgd_phase"}
