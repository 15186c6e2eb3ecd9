"""The authors' AdaHessian for images: kernels of convolutions share a mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    return "adahessian", dict(hyper)
