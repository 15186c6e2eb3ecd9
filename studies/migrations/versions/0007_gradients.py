"""Keep what was measured of gradients: norms of each step, and how noisy they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_TABLE = "autotune_gradients"


def upgrade() -> None:
    """Add the table; of trials that are there nothing was measured."""
    op.create_table(
        _TABLE,
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("l1", sa.Double(), nullable=True),
        sa.Column("l2", sa.Double(), nullable=True),
        sa.Column("variance", sa.Double(), nullable=True),
        sa.Column("square", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(
            ["trial_id"],
            ["autotune_trials.id"],
            name="fk_autotune_gradients_trial_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("trial_id", "step", name="pk_autotune_gradients"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table(_TABLE)
