"""``torch.optim.Adam``, with its decay in the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    return "adam", {**hyper, "eps_after_correction": True}
