"""Keep what became of settings in longer runs: a stage of a search, stored as a search is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_TABLE = "autotune_validations"


def upgrade() -> None:
    """Add the table; searches that are there were not validated."""
    op.create_table(
        _TABLE,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("search_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("stage_id", sa.Integer(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["search_id"],
            ["autotune_searches.id"],
            name="fk_autotune_validations_search_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["stage_id"],
            ["autotune_searches.id"],
            name="fk_autotune_validations_stage_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_autotune_validations"),
        sa.UniqueConstraint("search_id", "number", name="uq_autotune_validations_search_id_number"),
        sa.UniqueConstraint("stage_id", name="uq_autotune_validations_stage_id"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """Drop the table and what was run for it: searches of no name that a user could give."""
    own = f"SELECT stage_id FROM {_TABLE}"
    op.execute(f"DELETE FROM autotune_searches WHERE id IN ({own})")
    op.drop_table(_TABLE)
