"""Keep whose lease it is, and that a rung ended the trial of a worker that cannot pause."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns; workers so far could pause, and any token may tell of what they hold."""
    op.add_column("autotune_attempts", sa.Column("token", sa.Integer(), nullable=True))
    op.add_column("autotune_attempts", sa.Column("pauses", sa.Boolean(), nullable=True))
    op.add_column("autotune_trials", sa.Column("final", sa.Boolean(), nullable=True))


def downgrade() -> None:
    """Drop what was added; trials that a rung ended may then go on."""
    op.drop_column("autotune_trials", "final")
    op.drop_column("autotune_attempts", "pauses")
    op.drop_column("autotune_attempts", "token")
