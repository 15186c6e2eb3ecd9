"""Tuned settings in the forms other programs read.

An export is one module with ``suffix``, the ending of the files it writes, and
``render(tuned: Tuned) -> str``, which its entry point in the group ``autotune.exports`` names. It
opens with ``autotune.export.header`` where the format has comments, and refuses by name what it
cannot express. One that writes schedules that are tables has ``tables = True``.
``autotune.testing.exports`` tests it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from autotune import registry
from autotune.errors import SpecError

if TYPE_CHECKING:
    from autotune.results.tuned import Tuned

GROUP = "autotune.exports"

__all__ = ["formats", "render", "suffix"]


def formats() -> list[str]:
    """Return the names of the export formats."""
    return registry.names(GROUP)


def render(tuned: Tuned, format: str) -> str:
    """Write a setting in the named format.

    Raises:
        UnknownName: There is no such format.
        SpecError: The format cannot express the setting.
    """
    renderer = _renderer(format)
    if tuned.schedule.type == "table" and not _takes_tables(format):
        able = ", ".join(filter(_takes_tables, formats()))
        raise SpecError(
            f"export '{format}' cannot express a schedule that is a table, as a refined one is; "
            f"use one of {able}, or leave out the schedule"
        )
    return renderer(tuned)


def _takes_tables(format: str) -> bool:
    return getattr(sys.modules[_renderer(format).__module__], "tables", False)


def suffix(format: str) -> str:
    """Return the ending of a file of the named format, with its dot."""
    ending: str = sys.modules[_renderer(format).__module__].suffix
    return ending


def _renderer(format: str) -> Callable[[Tuned], str]:
    renderer: Callable[[Tuned], str] = registry.load(GROUP, format)
    return renderer
