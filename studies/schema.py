"""Bring a database to the schema of this version, or refuse it."""

from __future__ import annotations

from sqlalchemy import Connection, column, func, inspect, select, table

from autotune.studies.errors import StorageError

# Every step, oldest first; each is a file in migrations/versions.
VERSIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
_TABLE = "autotune_version"
_LOCK = 0x6175746F74756E65  # any number that other programs are unlikely to lock: "autotune"


def version(connection: Connection) -> str | None:
    """Return the schema a database has; None when our tables are not there."""
    if not inspect(connection).has_table(_TABLE):
        return None
    stored: str | None = connection.scalar(select(column("version_num")).select_from(table(_TABLE)))
    return stored


def tables(connection: Connection) -> list[str]:
    """Return the names of all tables, ours and others'."""
    return inspect(connection).get_table_names()


def current(found: str | None, shown: str) -> bool:
    """Return whether a schema is this version's own; raises StorageError for a newer one."""
    if found is not None and found not in VERSIONS:
        raise StorageError(
            f"{shown} has schema {found}, this version knows up to {VERSIONS[-1]}; "
            "upgrade adan-autotune"
        )
    return found == VERSIONS[-1]


def alone(connection: Connection) -> None:
    """Wait until no other process changes the schema, until the transaction ends."""
    # SQLite's writers are alone anyway.
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def upgrade(connection: Connection) -> None:
    """Run the missing steps inside the connection's transaction."""
    # Alembic is only loaded by the few openings that change a schema.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "autotune.studies:migrations")
    command.upgrade(config, "head")
