"""Text, values and dictionaries as they stand in a Python file."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from typing import Any


def docstring(sentences: list[str]) -> str:
    """Return text that cannot end the docstring it stands in."""
    safe = [text.replace("\\", "\\\\").replace('"', "'") for text in sentences]
    safe[0] = f"{safe[0][:1].upper()}{safe[0][1:]}."
    head, *rest = [_wrap(text) for text in safe]
    return "\n".join([head, "", *rest])


def _wrap(text: str) -> str:
    # A word is never broken: half of an escape would mean something else.
    return textwrap.fill(
        text, 80, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def entries(hyper: Mapping[str, Any]) -> str:
    """Return the lines of a dictionary's body, an entry each."""
    return "\n".join(f"    {literal(name)}: {literal(value)}," for name, value in hyper.items())


def literal(value: Any) -> str:
    """Write a value as Python does, with the quotes formatters prefer."""
    return json.dumps(value) if isinstance(value, str) else repr(value)
