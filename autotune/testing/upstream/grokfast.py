"""Grokfast's ``gradfilter_ema`` before an optimizer of torch, AdamW where nothing else is said."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from autotune.testing.upstream import adamw

_WORDS = {"alpha": "grokfast_alpha", "lamb": "grokfast_lamb"}


def before(base: ModuleType, hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments for an optimizer that the filter stands before."""
    name, found = base.ours({k: v for k, v in hyper.items() if k not in _WORDS})
    given = {ours: hyper[theirs] for theirs, ours in _WORDS.items()}
    return name, {**found, "gradient_filter": "grokfast", **given}


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    return before(adamw, hyper)
