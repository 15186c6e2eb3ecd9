"""EMA-Nesterov's wrapper around Adam of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.testing.upstream import adam, ema_nesterov

MEASURED = True


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    return ema_nesterov.around(adam, hyper)
