"""What a search may be called, and the sentence for a name nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from autotune.studies.errors import SpecError

BATCHED = "batched"  # the engine that steps many replicas at once
COMMAND = "command"  # the model of a search whose trials run a command
PRECISIONS = ("auto", "float32", "bf16", "fp16")  # what --precision takes
LONGEST = 200  # characters; servers enforce the column's length, SQLite does not
_SHOWN = 8
# Keys of a spec whose values are words, whatever a format takes 2024, 1.10 or 12:30 for.
TEXTS = frozenset({"model", "data", "name", "engine", "sampler", "pruner", "address"})


def check(name: str) -> str:
    """Return ``name``, or refuse what a table, a path or a terminal could not carry."""
    if not name.strip():
        raise SpecError(f"name must not be empty, got {name!r}")
    if len(name) > LONGEST:
        raise SpecError(f"name must be at most {LONGEST} characters, got {len(name)}")
    if name != name.strip() or not name.isprintable():
        raise SpecError(f"name must be printable text without spaces around it, got {name!r}")
    if name.startswith("-"):
        raise SpecError(f"name must not begin with '-' (as an option does), got {name!r}")
    if "/" in name:
        raise SpecError(f"name must not contain '/' (as in search/optimizer), got {name!r}")
    return name


def plain(text: str) -> str:
    """Return a text on one line, without what a database or a terminal could not carry."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" or nothing; names with the word in them come first."""
    every = list(known)
    within = [other for other in every if len(word) > 2 and word.lower() in other.lower()]
    close = within or difflib.get_close_matches(word, every, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def listing(known: Iterable[str]) -> str:
    """Return the first few names in brackets, and how many are left out."""
    names = list(known)
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"(known: {', '.join(names[:_SHOWN])}{more})"
