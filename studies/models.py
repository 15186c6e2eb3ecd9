"""The tables: one per thing that is remembered, beside Optuna's own in the same database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry

from autotune.studies.names import LONGEST


class Moment(TypeDecorator[datetime]):
    """A time in UTC; SQLite forgets the zone, so it is put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn any zone into UTC."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Name the zone that was meant."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_REGISTRY = registry(
    type_annotation_map={dict[str, Any]: JSON, datetime: Moment, float: Double, str: Text},
    # A migration can only change a constraint that has a name.
    metadata=MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    ),
)
_NEVER_REUSED = {"sqlite_autoincrement": True}  # an id is not given out twice, even after a delete


class Base(DeclarativeBase):
    """What the tables share."""

    registry = _REGISTRY
    __table_args__: Any = (_NEVER_REUSED,)


def _parent(column: str) -> Any:
    return mapped_column(ForeignKey(column, ondelete="CASCADE"))


class Environment(Base):
    """Versions and machine of one run of a search; the same facts are kept once."""

    __tablename__ = "autotune_environments"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    facts: Mapped[dict[str, Any]]
    created: Mapped[datetime]


class Search(Base):
    """Studies of several optimizers on one task."""

    __tablename__ = "autotune_searches"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(LONGEST), unique=True)
    spec: Mapped[dict[str, Any]]
    task: Mapped[dict[str, Any]]
    environment_id: Mapped[int] = mapped_column(ForeignKey("autotune_environments.id"), index=True)
    state: Mapped[str] = mapped_column(String(16))
    seconds: Mapped[float]
    revision: Mapped[int]  # counts the changes to anything in the search
    ticked: Mapped[datetime | None]  # when time was last added to ``seconds``
    decider: Mapped[str | None]  # who may decide what runs next
    decider_until: Mapped[datetime | None]
    command: Mapped[str | None] = mapped_column(String(16))  # what all its workers are told
    created: Mapped[datetime]
    updated: Mapped[datetime]


class Study(Base):
    """All trials of one optimizer within a search."""

    __tablename__ = "autotune_studies"
    __table_args__ = (UniqueConstraint("search_id", "optimizer"), _NEVER_REUSED)

    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = _parent("autotune_searches.id")
    optimizer: Mapped[str]
    space: Mapped[dict[str, Any]]


class Trial(Base):
    """One run of a setting."""

    __tablename__ = "autotune_trials"
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        # Counts by state and the best loss of a study are read from the index alone.
        Index(None, "study_id", "state", "role", "loss"),
        Index(None, "study_id", "revision"),
        _NEVER_REUSED,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = _parent("autotune_studies.id")
    number: Mapped[int]
    role: Mapped[str] = mapped_column(String(16))
    origin: Mapped[str]
    params: Mapped[dict[str, Any]]
    hyper: Mapped[dict[str, Any]]
    warmup: Mapped[float]
    seed: Mapped[int]
    target: Mapped[int]
    source: Mapped[int | None]
    state: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int]  # the newest attempt's number, 0 before the first: the fence
    revision: Mapped[int] = mapped_column(server_default=text("0"))  # the search's, when it changed
    checkpoint: Mapped[str | None]  # name of the file that holds its state
    checksum: Mapped[str | None] = mapped_column(String(64))  # SHA-256 of that file
    saved: Mapped[dict[str, Any] | None]  # where a remote worker says that it keeps its state
    step: Mapped[int]
    loss: Mapped[float | None]
    accuracy: Mapped[float | None]
    seconds: Mapped[float]
    reason: Mapped[str | None]
    final: Mapped[bool | None]  # True: over for good: void, or its worker could not pause at a rung
    created: Mapped[datetime]
    updated: Mapped[datetime]


class Attempt(Base):
    """One worker's go at a trial; an older attempt may no longer write."""

    __tablename__ = "autotune_attempts"
    __table_args__ = (
        UniqueConstraint("trial_id", "number"),
        Index(None, "ended", "expires"),
        Index(None, "request"),
        _NEVER_REUSED,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = _parent("autotune_trials.id")
    number: Mapped[int]
    worker: Mapped[str]
    started: Mapped[datetime]
    heartbeat: Mapped[datetime]
    expires: Mapped[datetime]
    stop: Mapped[int | None]  # the step it is heading for: what of the budget it has reserved
    request: Mapped[str | None] = mapped_column(String(200))  # what a remote worker asked it by
    token: Mapped[int | None]  # of those who may call a service, by which it asked
    pauses: Mapped[bool | None]  # False: its worker cannot, so that a rung may end its trial
    ended: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16))


class CurvePoint(Base):
    """One measurement on a trial's curve."""

    __tablename__ = "autotune_points"
    __table_args__ = ({"sqlite_with_rowid": False},)  # a curve lies together on disk

    trial_id: Mapped[int] = mapped_column(
        ForeignKey("autotune_trials.id", ondelete="CASCADE"), primary_key=True
    )
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seconds: Mapped[float]
    train_loss: Mapped[float | None]
    loss: Mapped[float | None]
    accuracy: Mapped[float | None]


class StepGradient(Base):
    """What was measured of a trial's gradient in one step, where that was asked for."""

    __tablename__ = "autotune_gradients"
    __table_args__ = ({"sqlite_with_rowid": False},)

    trial_id: Mapped[int] = mapped_column(
        ForeignKey("autotune_trials.id", ondelete="CASCADE"), primary_key=True
    )
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    l1: Mapped[float | None]
    l2: Mapped[float | None]
    variance: Mapped[float | None]
    square: Mapped[float | None]


class Recommendation(Base):
    """What a study ended with; a later run of the search replaces it."""

    __tablename__ = "autotune_recommendations"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(
        ForeignKey("autotune_studies.id", ondelete="CASCADE"), unique=True
    )
    content: Mapped[dict[str, Any]]
    created: Mapped[datetime]


class Validation(Base):
    """A stage of a search that trains its settings for longer; it is stored as a search is."""

    __tablename__ = "autotune_validations"
    __table_args__ = (UniqueConstraint("search_id", "number"), _NEVER_REUSED)

    id: Mapped[int] = mapped_column(primary_key=True)
    search_id: Mapped[int] = _parent("autotune_searches.id")
    number: Mapped[int]  # from 1, within its search
    stage_id: Mapped[int] = mapped_column(
        ForeignKey("autotune_searches.id", ondelete="CASCADE"), unique=True
    )
    plan: Mapped[dict[str, Any]]
    created: Mapped[datetime]


class Export(Base):
    """A file that was written for another tool."""

    __tablename__ = "autotune_exports"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(
        ForeignKey("autotune_studies.id", ondelete="CASCADE"), index=True
    )
    format: Mapped[str]
    path: Mapped[str | None]
    text: Mapped[str]
    created: Mapped[datetime]


class Token(Base):
    """Who may call a service of this database; its secret is not kept."""

    __tablename__ = "autotune_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]  # what a person calls it
    digest: Mapped[str] = mapped_column(String(64))  # SHA-256 of the secret
    scope: Mapped[str] = mapped_column(String(16))
    search: Mapped[str | None] = mapped_column(String(LONGEST))  # the only one it is for
    created: Mapped[datetime]
    expires: Mapped[datetime | None]
    revoked: Mapped[datetime | None]
    used: Mapped[datetime | None]  # to the minute
