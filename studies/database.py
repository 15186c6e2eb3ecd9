"""One database: how it is opened, what a transaction is, and what went wrong in words."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, StatementError

from autotune.studies import schema, urls
from autotune.studies.errors import NotFound, SpecError, StorageError, Unavailable

# Seconds to wait for another process's transaction; theirs take milliseconds. A reader waits for
# none of them, only for what locks the whole file.
_BUSY_TIMEOUT, _READING_TIMEOUT = 30.0, 5.0


class Database:
    """A database of the right schema; ``reading`` and ``writing`` are its transactions."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self.url = urls.normalise(url)
        self.shown = urls.mask(self.url)
        self.read_only = read_only
        _check_path(self.url, self.shown, read_only=read_only)
        self._engine = _engine(self.url, self.shown, read_only=read_only)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        with self._connected() as connection:
            found = schema.version(connection)
        if schema.current(found, self.shown):
            return
        if self.read_only:
            raise self._unreadable(found)
        with self._connected() as connection:
            _write_ahead(connection)
        with self.writing() as connection:
            schema.alone(connection)
            # Another process may have been first; its transaction is over by now.
            if not schema.current(schema.version(connection), self.shown):
                schema.upgrade(connection)

    def _unreadable(self, found: str | None) -> NotFound | StorageError:
        """Return why a database without this version's schema holds nothing that can be read."""
        if found is not None:
            return StorageError(
                f"{self.shown} has the older schema {found}; any search in it brings it up to date"
            )
        # A server's database may well hold others' tables; a file of them is the wrong file.
        if urls.file(self.url) is not None and self._tables():
            return StorageError(
                f"{self.shown} holds tables of another program and no searches; "
                "name another with --storage"
            )
        return NotFound(f"{self.shown} holds no searches yet; start one with 'autotune search'")

    def _tables(self) -> list[str]:
        with self._connected() as connection:
            return schema.tables(connection)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise explain(error.orig, self.url) from error
        except sqlite3.Error as error:
            raise explain(error, self.url) from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Look without changing anything."""
        with self._connected() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Change everything or nothing, alone."""
        if self.read_only:
            raise StorageError(f"{self.shown} was opened for reading only")
        try:
            with self._connected() as connection:
                connection.execution_options(autotune_writes=True)
                with connection.begin():
                    yield connection
        except StatementError as error:
            if isinstance(error.orig, SpecError):
                raise error.orig from None
            raise

    def close(self) -> None:
        """Let go of the file or the server."""
        self._engine.dispose()


def _check_path(url: str, shown: str, *, read_only: bool) -> None:
    path = urls.file(url)
    if path is None or urls.parse(url).query.get("uri"):
        return
    if path.is_dir():
        raise StorageError(f"storage {shown} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise StorageError(f"storage {shown} is in a folder that does not exist: {path.parent}")
    if read_only and not path.exists():
        raise NotFound(f"no database at {path}; start a search or name another with --storage")


def _engine(url: str, shown: str, *, read_only: bool) -> Engine:
    parsed = urls.parse(url)
    sqlite = parsed.get_backend_name() == "sqlite"
    if sqlite and read_only and not parsed.query.get("uri"):
        parsed = _unwritable(parsed)
    wait = _READING_TIMEOUT if read_only else _BUSY_TIMEOUT
    arguments = {"timeout": wait} if sqlite and "timeout" not in parsed.query else {}
    try:
        engine = create_engine(
            parsed,
            connect_args=arguments,
            json_serializer=_json,
            json_deserializer=json.loads,
            pool_pre_ping=not sqlite,  # a server may have been restarted since the last time
        )
    except ModuleNotFoundError:
        raise StorageError(
            f"storage {shown} needs the postgres extra: pip install 'adan-autotune[postgres]'"
        ) from None
    if sqlite:
        event.listen(engine, "connect", _configure)
        event.listen(engine, "begin", _begin)
    return engine


def _unwritable(url: URL) -> URL:
    """Return the address that opens an SQLite file without creating or changing it."""
    path = Path(url.database or "").absolute()
    query = {**url.query, "mode": "ro", "uri": "true"}
    # In a folder nobody may write to, SQLite could not make the files that readers share.
    if not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists():
        query["immutable"] = "1"
    return url.set(database=path.as_uri(), query=query)


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    # The driver would begin transactions late and upgrade them, which fails at once when locked.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("autotune_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _write_ahead(connection: Connection) -> None:
    """Let readers of an SQLite file go on while one process writes."""
    if connection.dialect.name != "sqlite":
        return
    cursor = connection.connection.cursor()
    deadline = time.monotonic() + _BUSY_TIMEOUT
    while True:
        try:
            # A file system that cannot share memory stays as it is: writers then wait for readers.
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # SQLite does not wait by itself for this lock.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SpecError(f"{value!r} cannot be stored as JSON: {error}") from None


_AWAY = {
    "database is locked": "is locked by another process; wait for it to end and try again",
    "disk is full": "cannot grow, the disk is full; free some space and try again",
    "disk I/O error": "cannot be read or written, its disk fails; see to the disk and try again",
}
_SENTENCES = {
    "file is not a database": "is not an SQLite database; name another file",
    "readonly database": "is read-only; make it writable or name another with --storage",
    "unable to open database file": "cannot be opened; check the rights to it and its folder",
    "malformed": "is damaged; restore a copy or name another with --storage",
}


def explain(error: BaseException | None, url: str, what: str = "storage") -> StorageError:
    """Return the driver's complaint as a sentence that names the storage and hides its password.

    ``what`` refused is said of a complaint that is not known.
    """
    shown = urls.mask(url)
    said = " ".join(str(error).split())
    for part, sentence in _AWAY.items():
        if part in said:
            return Unavailable(f"storage {shown} {sentence}")
    for part, sentence in _SENTENCES.items():
        if part in said:
            return StorageError(f"storage {shown} {sentence}")
    password = urls.parse(url).password
    if password:
        said = said.replace(password, "***")
    # Of a server these are lost connections, restarts and deadlocks.
    away = urls.file(url) is None and _operational(error)
    return (Unavailable if away else StorageError)(f"{what} {shown} refused: {said}")


def _operational(error: BaseException | None) -> bool:
    return any(kind.__name__ == "OperationalError" for kind in type(error).__mro__)


def storable(text: str | None) -> str | None:
    """Replace what UTF-8 or a server's text column cannot hold; a user's error may say anything."""
    if text is None:
        return None
    return (
        text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")
    )
