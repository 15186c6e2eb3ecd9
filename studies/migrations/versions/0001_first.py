"""Create the first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer, nullable=False)


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _parent(table: str, column: str, parent: str) -> tuple[sa.Column[int], sa.ForeignKeyConstraint]:
    return (
        sa.Column(column, sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            [column], [f"{parent}.id"], name=f"fk_{table}_{column}", ondelete="CASCADE"
        ),
    )


def _create(table: str, *parts: sa.schema.SchemaItem) -> None:
    key = sa.PrimaryKeyConstraint("id", name=f"pk_{table}")
    op.create_table(table, _id(), *parts, key, sqlite_autoincrement=True)


def upgrade() -> None:
    """Create every table."""
    _searches()
    _trials()
    _attempts()
    _points()
    _results()


def _searches() -> None:
    _create(
        "autotune_environments",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("facts", sa.JSON, nullable=False),
        _time("created"),
        sa.UniqueConstraint("digest", name="uq_autotune_environments_digest"),
    )
    _create(
        "autotune_searches",
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("task", sa.JSON, nullable=False),
        sa.Column("environment_id", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        _time("created"),
        _time("updated"),
        sa.UniqueConstraint("name", name="uq_autotune_searches_name"),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["autotune_environments.id"],
            name="fk_autotune_searches_environment_id",
        ),
    )
    op.create_index("ix_autotune_searches_environment_id", "autotune_searches", ["environment_id"])
    _create(
        "autotune_studies",
        *_parent("autotune_studies", "search_id", "autotune_searches"),
        sa.Column("optimizer", sa.Text, nullable=False),
        sa.Column("space", sa.JSON, nullable=False),
        sa.UniqueConstraint(
            "search_id", "optimizer", name="uq_autotune_studies_search_id_optimizer"
        ),
    )


def _trials() -> None:
    _create(
        "autotune_trials",
        *_parent("autotune_trials", "study_id", "autotune_studies"),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("params", sa.JSON, nullable=False),
        sa.Column("hyper", sa.JSON, nullable=False),
        sa.Column("warmup", sa.Double, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("target", sa.Integer, nullable=False),
        sa.Column("source", sa.Integer),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("loss", sa.Double),
        sa.Column("accuracy", sa.Double),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("reason", sa.Text),
        _time("created"),
        _time("updated"),
        sa.UniqueConstraint("study_id", "number", name="uq_autotune_trials_study_id_number"),
    )
    op.create_index(
        "ix_autotune_trials_study_id_state_role_loss",
        "autotune_trials",
        ["study_id", "state", "role", "loss"],
    )


def _attempts() -> None:
    _create(
        "autotune_attempts",
        *_parent("autotune_attempts", "trial_id", "autotune_trials"),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        _time("started"),
        _time("heartbeat"),
        _time("expires"),
        _time("ended", nullable=True),
        sa.Column("outcome", sa.String(16)),
        sa.UniqueConstraint("trial_id", "number", name="uq_autotune_attempts_trial_id_number"),
    )


def _points() -> None:
    op.create_table(
        "autotune_points",
        *_parent("autotune_points", "trial_id", "autotune_trials"),
        sa.Column("step", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("train_loss", sa.Double),
        sa.Column("loss", sa.Double),
        sa.Column("accuracy", sa.Double),
        sa.PrimaryKeyConstraint("trial_id", "step", name="pk_autotune_points"),
        sqlite_with_rowid=False,
    )


def _results() -> None:
    _create(
        "autotune_recommendations",
        *_parent("autotune_recommendations", "study_id", "autotune_studies"),
        sa.Column("content", sa.JSON, nullable=False),
        _time("created"),
        sa.UniqueConstraint("study_id", name="uq_autotune_recommendations_study_id"),
    )
    _create(
        "autotune_exports",
        *_parent("autotune_exports", "study_id", "autotune_studies"),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("path", sa.Text),
        sa.Column("text", sa.Text, nullable=False),
        _time("created"),
    )
    op.create_index("ix_autotune_exports_study_id", "autotune_exports", ["study_id"])


def downgrade() -> None:
    """Drop every table, the newest first."""
    for name in ("exports", "recommendations", "points", "attempts", "trials", "studies"):
        op.drop_table(f"autotune_{name}")
    op.drop_table("autotune_searches")
    op.drop_table("autotune_environments")
