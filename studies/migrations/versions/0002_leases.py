"""Let several processes run one search: leases, turns, revisions and checked checkpoints."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_COLUMNS = (
    ("autotune_searches", "ticked", sa.DateTime(timezone=True)),
    ("autotune_searches", "decider", sa.Text()),
    ("autotune_searches", "decider_until", sa.DateTime(timezone=True)),
    ("autotune_searches", "command", sa.String(16)),
    ("autotune_trials", "checkpoint", sa.Text()),
    ("autotune_trials", "checksum", sa.String(64)),
    ("autotune_attempts", "stop", sa.Integer()),
)
_INDEXES = (
    ("autotune_trials", ("study_id", "revision")),
    ("autotune_attempts", ("ended", "expires")),
)


def upgrade() -> None:
    """Add the columns, and let what a killed process left be taken over at once."""
    # Columns are added, never tables copied: dropping a parent would delete its children.
    for table, name, kind in _COLUMNS:
        op.add_column(table, sa.Column(name, kind, nullable=True))
    revision = sa.Column("revision", sa.Integer, nullable=False, server_default=sa.text("0"))
    op.add_column("autotune_trials", revision)
    for table, columns in _INDEXES:
        op.create_index(_index(table, columns), table, list(columns))
    op.execute("UPDATE autotune_attempts SET expires = heartbeat WHERE ended IS NULL")
    op.execute(
        "UPDATE autotune_trials SET checkpoint = study_id || '-' || number || '.pt' "
        "WHERE state IN ('paused', 'running') AND step > 0"
    )


def downgrade() -> None:
    """Drop what was added."""
    for table, columns in _INDEXES:
        op.drop_index(_index(table, columns), table)
    op.drop_column("autotune_trials", "revision")
    for table, name, _ in _COLUMNS:
        op.drop_column(table, name)


def _index(table: str, columns: tuple[str, ...]) -> str:
    return f"ix_{table}_{'_'.join(columns)}"
