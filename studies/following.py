"""What a page that stays open reads again: what changed since it read last, and no more."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select

from autotune.studies.errors import NotFound
from autotune.studies.models import Attempt, CurvePoint, Search, Study, Trial
from autotune.studies.reading import POINT, TRIAL, Reader, trial
from autotune.studies.records import AttemptRecord, TrialRecord, TrialState

BLOCK = 10_000  # points that are held at once while they are read
FEW = 500  # trials that a query names; of more, all are read
ATTEMPT = (
    Attempt.trial_id.label("trial"),
    Attempt.number,
    Attempt.worker,
    Attempt.started,
    Attempt.heartbeat,
    Attempt.ended,
    Attempt.outcome,
)


def revision(store: Reader, search_id: int) -> int:
    """Return the number of a search's last change; raises NotFound.

    What is read afterwards holds every change up to it, and perhaps some more.
    """
    with store.reading() as connection:
        found = connection.scalar(select(Search.revision).where(Search.id == search_id))
    if found is None:
        raise NotFound(f"no search {search_id} in {store}")
    return int(found)


def changed(store: Reader, search_id: int, since: int) -> list[TrialRecord]:
    """Return the trials of a search that changed after a revision."""
    query = (
        select(*TRIAL)
        .join(Study, Study.id == Trial.study_id)
        .where(Study.search_id == search_id, Trial.revision > since)
    )
    with store.reading() as connection:
        return [trial(row) for row in connection.execute(query)]


def changed_ids(store: Reader, study_id: int, since: int) -> list[int]:
    """Return the ids of a study's trials that changed after a revision."""
    query = select(Trial.id).where(Trial.study_id == study_id, Trial.revision > since)
    with store.reading() as connection:
        return list(connection.scalars(query))


def points(
    store: Reader, study_id: int, trials: Collection[int] | None = None
) -> Iterator[Sequence[Sequence[Any]]]:
    """Yield the points of a study's curves in blocks, by trial and step.

    A row is ``POINT`` and then the trial's id.

    Args:
        store: Where they are.
        study_id: The study.
        trials: Ids of those whose points are wanted, at most ``FEW``; None: all.
    """
    query = (
        select(*POINT, CurvePoint.trial_id)
        .join(Trial, Trial.id == CurvePoint.trial_id)
        .where(Trial.study_id == study_id, *_of(CurvePoint.trial_id, trials))
        .order_by(CurvePoint.trial_id, CurvePoint.step)
    )
    with store.reading() as connection:
        result = connection.execution_options(yield_per=BLOCK).execute(query)
        yield from (list(block) for block in result.partitions())


def ended(
    store: Reader, study_id: int, trials: Collection[int] | None = None
) -> dict[int, datetime]:
    """Return when the last attempt at each stopped trial of a study ended, by trial id.

    Args:
        store: Where they are.
        study_id: The study.
        trials: Ids of those that are wanted, at most ``FEW``; None: all.
    """
    query = (
        select(Attempt.trial_id, func.max(Attempt.ended))
        .join(Trial, Trial.id == Attempt.trial_id)
        .where(Trial.study_id == study_id, Trial.state == TrialState.STOPPED)
        .where(*_of(Attempt.trial_id, trials))
        .group_by(Attempt.trial_id)
    )
    with store.reading() as connection:
        rows = connection.execute(query).all()
    return {trial_id: moment for trial_id, moment in rows if moment is not None}


def newest(store: Reader, study_id: int, limit: int) -> list[AttemptRecord]:
    """Return the attempts at a study's trials that began last, in the order they began."""
    query = select(*ATTEMPT).join(Trial, Trial.id == Attempt.trial_id)
    query = query.where(Trial.study_id == study_id)
    query = query.order_by(Attempt.started.desc(), Attempt.id.desc()).limit(limit)
    return _attempts(store, query)[::-1]


def open_attempts(store: Reader, study_id: int) -> list[AttemptRecord]:
    """Return the attempts at a study's trials that did not end, in the order they began."""
    query = select(*ATTEMPT).join(Trial, Trial.id == Attempt.trial_id)
    query = query.where(Trial.study_id == study_id, Attempt.ended.is_(None))
    return _attempts(store, query.order_by(Attempt.started, Attempt.id))


def attempts_at(store: Reader, trial_id: int) -> list[AttemptRecord]:
    """Return every worker's go at a trial, in the order in which they began."""
    query = select(*ATTEMPT).where(Attempt.trial_id == trial_id)
    return _attempts(store, query.order_by(Attempt.started, Attempt.id))


def _attempts(store: Reader, query: Any) -> list[AttemptRecord]:
    with store.reading() as connection:
        return [AttemptRecord(**row._mapping) for row in connection.execute(query)]


def _of(column: Any, trials: Collection[int] | None) -> tuple[ColumnElement[bool], ...]:
    return () if trials is None else (column.in_(trials),)
