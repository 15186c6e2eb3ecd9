"""What the first page takes, made ready while its reader opens a browser."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Thread

from autotune.errors import AutotuneError


def begin() -> None:
    """Make ready in the background, so that whoever asks before that is answered as well."""
    Thread(target=prepare, name="ahead", daemon=True).start()


def prepare() -> None:
    """Load every page, and read the newest search into what pages keep in memory."""
    folder = Path(__file__).with_name("pages")
    for path in sorted(folder.glob("[a-z]*.py")):
        import_module(f"autotune.app.pages.{path.stem}")
    from autotune.app import queries

    # What is wrong with a database, pages say to whoever reads them.
    with suppress(AutotuneError):
        url = queries.storage()
        for search in queries.searches(url)[:1]:
            queries.snapshot(url, search.name)
