"""MARS-Lion by MARS' authors, named apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autotune.testing.upstream import mars


def groups(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the recording's groups, cut as those of MARS."""
    return mars.groups({**data, "hyper": {"optimize_1d": True, **data["hyper"]}})


def ours(hyper: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return our name and arguments."""
    return mars.ours({**hyper, "mars_type": "mars-lion"})
