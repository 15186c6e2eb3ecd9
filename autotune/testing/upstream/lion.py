"""Google's Lion; and lucidrains', whose decay may be of its own size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    found = dict(hyper)
    if found.pop("decoupled_weight_decay", False):  # then it is of the first learning rate
        found["weight_decay"] /= found["lr"]
    return "lion", found
