"""``torch.optim.NAdam``, whose decay is of either kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    found = dict(hyper)
    found["decay"] = "decoupled" if found.pop("decoupled_weight_decay") else "coupled"
    return "nadamw-torch", found
