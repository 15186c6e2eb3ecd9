"""EMA-Nesterov's wrapper around SGD of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.testing.upstream import ema_nesterov, sgd

MEASURED = True


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    return ema_nesterov.around(sgd, hyper)
