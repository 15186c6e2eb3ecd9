"""What whoever starts the dashboard lets its viewers do and see beside searches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What is allowed.

    Args:
        control: Whether viewers may stop, pause and continue searches.
        benchmarks: Folder with results of ``autotune bench step``; None: there is none.
    """

    control: bool = False
    benchmarks: Path | None = None


_agreed = [Terms()]  # of this process, which serves one dashboard


def agree(terms: Terms) -> None:
    """Set what the pages of this process allow."""
    _agreed[0] = terms


def agreed() -> Terms:
    """Return what pages allow."""
    return _agreed[0]
