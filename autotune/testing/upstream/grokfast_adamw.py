"""Grokfast's average of gradients before an AdamW of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.testing.upstream import adamw, grokfast


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    return grokfast.before(adamw, hyper)
