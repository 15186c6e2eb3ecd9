"""What changed in a search since a revision, in pages, for whoever follows it from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select

from autotune.studies.errors import NotFound
from autotune.studies.models import CurvePoint, Search, Study, Trial
from autotune.studies.reading import POINT, TRIAL, point, trial_of
from autotune.studies.records import Point, TrialRecord
from autotune.studies.store import Store

PAGE = 500  # trials that are read at once


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """What was told: all that changed up to a revision, and in the next up to a trial.

    Args:
        revision: The search's; -1: nothing was told.
        trial: Id of the last trial told of that revision; None: all of it was.
    """

    revision: int = -1
    trial: int | None = None


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A trial as it stands now.

    Args:
        revision: The search's, when the trial changed last.
        study: Its optimizer.
        trial: The trial.
        measured: Its last measurement, if there is one.
    """

    revision: int
    study: str
    trial: TrialRecord
    measured: Point | None


@dataclass(frozen=True, kw_only=True)
class News:
    """A page of what changed.

    Args:
        trials: Those that changed, in the order of their changes.
        cursor: From where the next page goes on.
        more: Whether there is more by now.
    """

    trials: tuple[Changed, ...]
    cursor: Cursor
    more: bool


def news(store: Store, search_id: int, since: Cursor, page: int = PAGE) -> News:
    """Return the trials of a search that changed since; raises NotFound.

    What a trial went through in between is not told: only how it stands.
    """
    with store.reading() as connection:
        # Read first: what changes meanwhile is newer, and is told again the next time.
        query = select(Search.revision).where(Search.id == search_id)
        revision = connection.scalar(query)
        if revision is None:
            raise NotFound(f"no search {search_id} in {store}")
        rows = connection.execute(
            _QUERY.where(Study.search_id == search_id, _after(since)).limit(page + 1)
        ).all()
        points = _measured(connection, [row.id for row in rows])
    trials = tuple(_changed(row, points.get(row.id)) for row in rows[:page])
    if len(rows) > page:
        last = trials[-1]
        cursor = Cursor(revision=last.revision, trial=last.trial.id)
        if rows[page].changed != last.revision:
            cursor = Cursor(revision=last.revision)
        return News(trials=trials, cursor=cursor, more=True)
    newest = max([revision, *(one.revision for one in trials)])
    return News(trials=trials, cursor=Cursor(revision=newest), more=False)


_QUERY = (
    select(*TRIAL, Trial.revision.label("changed"), Study.optimizer)
    .join(Study, Study.id == Trial.study_id)
    .order_by(Trial.revision, Trial.id)
)


def _after(since: Cursor) -> Any:
    if since.trial is None:
        return Trial.revision > since.revision
    rest = and_(Trial.revision == since.revision, Trial.id > since.trial)
    return or_(Trial.revision > since.revision, rest)


def _measured(connection: Connection, trials: Sequence[int]) -> dict[int, Point]:
    last = (
        select(CurvePoint.trial_id, func.max(CurvePoint.step).label("step"))
        .where(CurvePoint.trial_id.in_(trials))
        .group_by(CurvePoint.trial_id)
        .subquery()
    )
    same = (CurvePoint.trial_id == last.c.trial_id) & (CurvePoint.step == last.c.step)
    rows = connection.execute(select(*POINT, CurvePoint.trial_id).join(last, same)).all()
    return {row.trial_id: point(row) for row in rows}


def _changed(row: Any, measured: Point | None) -> Changed:
    names = {column.name for column in TRIAL}
    columns = {name: value for name, value in row._mapping.items() if name in names}
    return Changed(
        revision=row.changed, study=row.optimizer, trial=trial_of(columns), measured=measured
    )
