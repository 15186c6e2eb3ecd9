"""Run the steps on the connection handed over, inside its transaction."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="autotune_version",  # Optuna keeps its own in alembic_version
)
context.run_migrations()
