"""The AdaGrad-Norm of AdAdaGrad's authors, adagradnorm.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments; theirs has an eps of its own, which is no argument."""
    return "adagrad", {"eps": 1e-10, **hyper, "accumulate": "rows"}
