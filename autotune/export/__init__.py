"""Tuned settings in the forms other programs read.

An export is one module with ``suffix``, the ending of the files it writes, and
``render(tuned: Tuned) -> str``, which its entry point in the group ``autotune.exports`` names. It
opens with ``autotune.export.header`` where the format has comments, and refuses by name what it
cannot express. ``autotune.testing.exports`` tests it. A format that can hold several settings has
``render_best(found: Sequence[Ranked]) -> str`` beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from autotune import registry
from autotune.errors import SpecError

if TYPE_CHECKING:
    from autotune.results.best import Ranked
    from autotune.results.tuned import Tuned

GROUP = "autotune.exports"

__all__ = ["formats", "render", "render_best", "suffix"]


def formats() -> list[str]:
    """Return the names of the export formats."""
    return registry.names(GROUP)


def render(tuned: Tuned, format: str) -> str:
    """Write a setting in the named format; raises UnknownName."""
    return _renderer(format)(tuned)


def render_best(found: Sequence[Ranked], format: str) -> str:
    """Write several settings in the named format.

    Raises:
        UnknownName: There is no such format.
        SpecError: It holds one setting only.
    """
    if not hasattr(_module(format), "render_best"):
        several = [name for name in formats() if hasattr(_module(name), "render_best")]
        raise SpecError(
            f"export '{format}' holds one setting, got --top; use --as {' or '.join(several)}, or "
            "name one setting with --trial"
        )
    text: str = _module(format).render_best(found)
    return text


def suffix(format: str) -> str:
    """Return the ending of a file of the named format, with its dot."""
    ending: str = _module(format).suffix
    return ending


def _module(format: str) -> ModuleType:
    return sys.modules[_renderer(format).__module__]


def _renderer(format: str) -> Callable[[Tuned], str]:
    renderer: Callable[[Tuned], str] = registry.load(GROUP, format)
    return renderer
