"""The comment that a file opens with, in formats whose comments begin with ``#``."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.export.header import lines, printable
from autotune.results.tuned import Tuned


def comment(tuned: Tuned, usage: str, terms: Sequence[str]) -> str:
    """Return how to use a file, where its setting comes from and how it is to be read.

    Args:
        tuned: The record.
        usage: How to use the file, a line each.
        terms: What ``autotune.export.run.terms`` returned.
    """
    told = [*usage.splitlines(), *lines(tuned), *terms]
    return "".join(f"# {printable(line)}".rstrip() + "\n" for line in told)
