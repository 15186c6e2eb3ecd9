"""How a search from Python shows what happens, and how its arguments are written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from autotune import registry
from autotune.cli.views.progress import FORMS, listening
from autotune.errors import UnknownName
from autotune.search.events import Event, Listener, Notice, SearchStarted

NO_BUDGET = "a search needs a budget: give trials, runs or minutes, or several of them"


def text(storage: str | os.PathLike[str] | None) -> str | None:
    """Return a storage as text; None where none was given."""
    return None if storage is None else os.fspath(storage)


def form(progress: str | None, listen: Listener | None) -> str:
    """Return how to show what happens; raises UnknownName."""
    if progress is None:
        return "auto" if listen is None else "off"
    if progress not in FORMS:
        raise UnknownName(registry.unknown("progress", progress, FORMS))
    return progress


@contextmanager
def telling(form: str, listen: Listener | None, notice: str | None) -> Iterator[Listener]:
    """Show events and pass them on, after a notice where a search begins."""
    with listening(form) as show:

        def tell(event: Event) -> None:
            if notice is not None and isinstance(event, SearchStarted):
                show(Notice(text=notice))
            show(event)
            if listen is not None:
                listen(event)

        yield tell
