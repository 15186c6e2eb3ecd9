"""Let workers that only know an address ask twice and be given the same, and keep their states."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_INDEX = "ix_autotune_attempts_request"


def upgrade() -> None:
    """Add the columns; attempts and trials that are there have none of it."""
    op.add_column("autotune_attempts", sa.Column("request", sa.String(200), nullable=True))
    op.add_column("autotune_trials", sa.Column("saved", sa.JSON(), nullable=True))
    op.create_index(_INDEX, "autotune_attempts", ["request"])


def downgrade() -> None:
    """Drop what was added."""
    op.drop_index(_INDEX, "autotune_attempts")
    op.drop_column("autotune_trials", "saved")
    op.drop_column("autotune_attempts", "request")
