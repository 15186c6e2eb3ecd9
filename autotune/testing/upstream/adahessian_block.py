"""The authors' AdaHessian for language: blocks share a mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments; their block of -1 is ours of 0."""
    found = dict(hyper)
    sizes = found.pop("spatial_average_block_size")
    return "adahessian", {**found, "block_sizes": tuple([max(size, 0) for size in sizes])}
