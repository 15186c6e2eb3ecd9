"""Tuned settings in the forms other programs read.

An export is one module with ``suffix``, the ending of the files it writes, and
``render(tuned: Tuned) -> str``, which its entry point in the group ``autotune.exports`` names. It
opens with ``autotune.export.header`` where the format has comments, and refuses by name what it
cannot express. ``autotune.testing.exports`` tests it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from autotune import registry

if TYPE_CHECKING:
    from autotune.results.tuned import Tuned

GROUP = "autotune.exports"

__all__ = ["formats", "render", "suffix"]


def formats() -> list[str]:
    """Return the names of the export formats."""
    return registry.names(GROUP)


def render(tuned: Tuned, format: str) -> str:
    """Write a setting in the named format; raises UnknownName."""
    return _renderer(format)(tuned)


def suffix(format: str) -> str:
    """Return the ending of a file of the named format, with its dot."""
    ending: str = sys.modules[_renderer(format).__module__].suffix
    return ending


def _renderer(format: str) -> Callable[[Tuned], str]:
    renderer: Callable[[Tuned], str] = registry.load(GROUP, format)
    return renderer
