"""Plain tables, whose columns are as wide as their cells."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence

from autotune.cli.shared.stdout import current

GAP = "  "


def width() -> int:
    """Return the width of the terminal in columns, or 120 if there is none."""
    if "COLUMNS" in os.environ:
        return shutil.get_terminal_size((120, 24)).columns
    stream = current()
    return os.get_terminal_size(stream.fileno()).columns or 120 if stream.isatty() else 120


def table(rows: Sequence[Sequence[str]]) -> str:
    """Align rows in columns; the first row is the header."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = (
        GAP.join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)) for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def widest(text: str) -> int:
    """Return the length of the longest line."""
    return max((len(line) for line in text.splitlines()), default=0)


def facts(pairs: Mapping[str, str]) -> str:
    """Write each name with its value on a line."""
    return table([(name, value) for name, value in pairs.items()]) if pairs else ""
