"""Text, values and dictionaries as they stand in a Python file."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autotune.results.tuned import Tuned

_WARMUP = "WARMUP = {}  # fraction of the schedule in which lr rises"
_TABLE = """\
# Factors on lr at equal distances over the run: the first step's first, the last step's last.
TABLE = (
{})"""


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


def rising(tuned: Tuned) -> str:
    """Return the numbers of a setting's schedule: a table, or its warm-up."""
    if not tuned.schedule.table:
        return _WARMUP.format(literal(tuned.warmup))
    return _TABLE.format(rows(tuned.schedule.table))


def rows(values: Sequence[float], each: int = 10) -> str:
    """Return the lines of a tuple's body, so many numbers each."""
    lines = (values[at : at + each] for at in range(0, len(values), each))
    return "".join(f"    {', '.join(map(repr, line))},\n" for line in lines)


def literal(value: Any) -> str:
    """Write a value as Python does, with the quotes formatters prefer."""
    return json.dumps(value) if isinstance(value, str) else repr(value)
