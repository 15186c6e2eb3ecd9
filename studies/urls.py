"""Where studies are kept: the default database, and how its address is written and shown."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from autotune.studies.errors import StorageError

DEFAULT = "sqlite:///autotune.db"
VARIABLE = "AUTOTUNE_STORAGE"
_FORMS = "use a file name, sqlite:///FILE or postgresql://USER@HOST/DATABASE"


def resolve(given: str | None = None) -> str:
    """Return the database to use: what was given, else AUTOTUNE_STORAGE, else the default."""
    if given is None:
        given = os.environ.get(VARIABLE) or DEFAULT
    return normalise(given)


def normalise(storage: str) -> str:
    """Return a path or URL as the URL SQLAlchemy opens; raises StorageError."""
    text = storage.strip()
    if "://" not in text and not text.startswith("sqlite:"):
        text = URL.create("sqlite", database=_path(text)).render_as_string()
    url = parse(text)
    if url.get_backend_name() == "postgresql" or url.drivername == "postgres":
        url = url.set(drivername="postgresql+psycopg")
    return url.render_as_string(hide_password=False)


def _path(text: str) -> str:
    if not text:
        raise StorageError(f"storage must not be empty; {_FORMS}")
    return str(Path(text).expanduser())


def parse(url: str) -> URL:
    """Return the parts of a URL of a kind that is supported; raises StorageError."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The text may hold a password that cannot be found in it, so it is not repeated.
        raise StorageError(f"storage cannot be read as a database URL; {_FORMS}") from None
    kind = parsed.drivername.split("+")[0]
    if kind not in {"sqlite", "postgresql", "postgres"}:
        raise StorageError(f"storage {mask(url)} is of the unknown kind '{kind}'; {_FORMS}")
    if kind == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise StorageError(f"storage {url} would be forgotten; {_FORMS}")
    return parsed


def mask(url: str) -> str:
    """Return a URL fit to be shown: its password is replaced by stars."""
    try:
        parsed = make_url(url)
        plain = f"sqlite:///{parsed.database}"
        if make_url(plain) == parsed:
            return plain  # without percent signs for every accent in a path
    except (ArgumentError, ValueError):
        return "***"
    return parsed.render_as_string(hide_password=True)


def file(url: str) -> Path | None:
    """Return the file of an SQLite URL; None for a server."""
    parsed = parse(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database is None:
        return None
    return Path(parsed.database.removeprefix("file:"))


def beside(url: str) -> Path:
    """Return the folder for what is too large for the database, such as checkpoints."""
    database = file(normalise(url))
    if database is None:
        return Path("autotune.d")
    return database.with_name(database.name + ".d")
