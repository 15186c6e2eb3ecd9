"""What may have been meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def near(given: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest of what is known, or nothing."""
    close = get_close_matches(given, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
