"""What a store can be asked: searches, studies, trials and curves, as values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from operator import itemgetter
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Row, Select, case, func, or_, select

from autotune.studies import attempts, names
from autotune.studies.database import Database
from autotune.studies.errors import NotFound
from autotune.studies.models import (
    Attempt,
    CurvePoint,
    Environment,
    Export,
    Recommendation,
    Search,
    Study,
    Trial,
    Validation,
)
from autotune.studies.records import (
    AttemptRecord,
    Command,
    Point,
    Role,
    SearchRecord,
    SearchState,
    StudyRecord,
    TrialRecord,
    TrialState,
)
from autotune.studies.setting import Setting

TRIAL = [c for c in Trial.__table__.columns if c.name not in {"attempt", "revision", "saved"}]
POINT = (
    CurvePoint.step,
    CurvePoint.seconds,
    CurvePoint.train_loss,
    CurvePoint.loss,
    CurvePoint.accuracy,
)


class Reader:
    """Read what was remembered."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self._database = Database(url, read_only=read_only)

    @property
    def url(self) -> str:
        """The database's URL, password included; ``str(store)`` masks it."""
        return self._database.url

    def __str__(self) -> str:
        return self._database.shown

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def reading(self) -> AbstractContextManager[Connection]:
        """Look at the tables themselves without changing anything."""
        return self._database.reading()

    def search(self, name: str) -> SearchRecord:
        """Return a search with its studies, their counts and best losses; raises NotFound."""
        with self._database.reading() as connection:
            found = _searches(connection, _SEARCH.where(Search.name == name))
            if not found:
                raise self._missing(connection, name)
        return found[0]

    def searches(self, *, after: str | None = None, limit: int | None = None) -> list[SearchRecord]:
        """Return every search, the newest first; a page of them after the one of a name."""
        query = _SEARCH.where(_NAMED).order_by(Search.id.desc()).limit(limit)
        if after is not None:
            last = select(Search.id).where(Search.name == after).scalar_subquery()
            query = query.where(Search.id < last)
        with self._database.reading() as connection:
            return _searches(connection, query)

    def trial(self, trial_id: int) -> TrialRecord:
        """Return one trial; raises NotFound."""
        with self._database.reading() as connection:
            return self._trial(connection, trial_id)

    def trials(
        self,
        study_id: int,
        role: Role | None = None,
        *,
        state: TrialState | None = None,
        after: int = -1,
        limit: int | None = None,
    ) -> list[TrialRecord]:
        """Return a study's trials by number: of one role or state, a page after a number."""
        query = select(*TRIAL).where(Trial.study_id == study_id).order_by(Trial.number).limit(limit)
        query = query.where(Trial.number > after) if after >= 0 else query
        if role is not None:
            query = query.where(Trial.role == role)
        if state is not None:
            query = query.where(Trial.state == state)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [trial(row) for row in rows]

    def curve(self, trial_id: int) -> tuple[Point, ...]:
        """Return a trial's points by step."""
        query = select(*POINT).where(CurvePoint.trial_id == trial_id).order_by(CurvePoint.step)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return tuple(point(row) for row in rows)

    def curves(self, study_id: int) -> dict[int, tuple[Point, ...]]:
        """Return the points of every trial of a study that has any, by trial id."""
        query = (
            select(*POINT, CurvePoint.trial_id)
            .join(Trial, Trial.id == CurvePoint.trial_id)
            .where(Trial.study_id == study_id)
            .order_by(CurvePoint.trial_id, CurvePoint.step)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return {
            trial_id: tuple(point(row) for row in curve)
            for trial_id, curve in groupby(rows, itemgetter(5))
        }

    def first_losses(self, search_id: int) -> dict[int, float]:
        """Return the training loss before the first update of a search's trials, by trial id."""
        query = (
            select(CurvePoint.trial_id, CurvePoint.train_loss)
            .join(Trial, Trial.id == CurvePoint.trial_id)
            .join(Study, Study.id == Trial.study_id)
            .where(Study.search_id == search_id, CurvePoint.step == 1)
            .where(CurvePoint.train_loss.is_not(None))
        )
        with self._database.reading() as connection:
            return {trial: loss for trial, loss in connection.execute(query) if loss is not None}

    def measured(self, study_id: int) -> dict[int, Point]:
        """Return the last point with a validation loss of each trial that has one, by trial id."""
        last = (
            select(CurvePoint.trial_id, func.max(CurvePoint.step).label("step"))
            .join(Trial, Trial.id == CurvePoint.trial_id)
            .where(Trial.study_id == study_id, CurvePoint.loss.is_not(None))
            .group_by(CurvePoint.trial_id)
            .subquery()
        )
        same = (CurvePoint.trial_id == last.c.trial_id) & (CurvePoint.step == last.c.step)
        query = select(*POINT, CurvePoint.trial_id).join(last, same)
        with self._database.reading() as connection:
            return {row[5]: point(row) for row in connection.execute(query)}

    def losses(self, study_id: int, steps: Sequence[int]) -> dict[int, dict[int, float]]:
        """Return the validation losses of a study's trials at some steps, by trial id and step."""
        query = (
            select(CurvePoint.trial_id, CurvePoint.step, CurvePoint.loss)
            .join(Trial, Trial.id == CurvePoint.trial_id)
            .where(Trial.study_id == study_id, CurvePoint.step.in_(steps))
        )
        found: dict[int, dict[int, float]] = {}
        with self._database.reading() as connection:
            for trial, step, loss in connection.execute(query):
                if loss is not None:
                    found.setdefault(trial, {})[step] = loss
        return found

    def recommendation(self, study_id: int) -> dict[str, Any] | None:
        """Return what a study recommends; None before it does."""
        query = select(Recommendation.content).where(Recommendation.study_id == study_id)
        with self._database.reading() as connection:
            return connection.scalar(query)

    def exports(self, study_id: int) -> list[dict[str, Any]]:
        """Return the files written from a study, oldest first: format, path, text and created."""
        query = (
            select(Export.format, Export.path, Export.text, Export.created)
            .where(Export.study_id == study_id)
            .order_by(Export.id)
        )
        with self._database.reading() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def signature(self, name: str | None = None) -> str:
        """Return a word that changes when a search, or any of them, changed."""
        told = (func.sum(case((Search.command == one, 1), else_=0)) for one in _HOLDING)
        query = select(func.count(), func.max(Search.id), func.sum(Search.revision), *told)
        if name is not None:
            query = query.where(or_(Search.name == name, Search.id.in_(self._stages(name))))
        with self._database.reading() as connection:
            number, newest, revisions, *halted = connection.execute(query).one()
            if name is not None and not number:
                raise self._missing(connection, name)
        return "-".join(str(each or 0) for each in (number, newest, revisions, *halted))

    def holders(self, search_id: int) -> tuple[set[str], float]:
        """Return who is believed to run a trial, and the seconds since the search last changed."""
        query = (
            select(Attempt.worker)
            .join(Trial, Trial.id == Attempt.trial_id)
            .join(Study, Study.id == Trial.study_id)
            .where(Study.search_id == search_id, Attempt.ended.is_(None))
        )
        with self._database.reading() as connection:
            now = attempts.now(connection)
            workers = set(connection.scalars(query.where(Attempt.expires >= now)))
            changed = connection.scalar(select(Search.updated).where(Search.id == search_id))
        return workers, (now - changed).total_seconds() if changed else 0.0

    def attempts(self, study_id: int) -> list[AttemptRecord]:
        """Return every worker's go at a study's trials, in the order in which they began."""
        query = (
            select(
                Attempt.trial_id.label("trial"),
                Attempt.number,
                Attempt.worker,
                Attempt.started,
                Attempt.heartbeat,
                Attempt.ended,
                Attempt.outcome,
            )
            .join(Trial, Trial.id == Attempt.trial_id)
            .where(Trial.study_id == study_id)
            .order_by(Attempt.started, Attempt.id)
        )
        with self._database.reading() as connection:
            return [AttemptRecord(**row._mapping) for row in connection.execute(query)]

    def _trial(self, connection: Connection, trial_id: int) -> TrialRecord:
        row = connection.execute(select(*TRIAL).where(Trial.id == trial_id)).one_or_none()
        if row is None:
            raise NotFound(f"no trial {trial_id} in {self}")
        return trial(row)

    def _stages(self, name: str) -> Select[Any]:
        """Return a query for the ids of what is stored as a stage of a search."""
        parent = select(Search.id).where(Search.name == name).scalar_subquery()
        return select(Validation.stage_id).where(Validation.search_id == parent)

    def _missing(self, connection: Connection, name: str) -> NotFound:
        known = list(
            connection.scalars(select(Search.name).where(_NAMED).order_by(Search.id.desc()))
        )
        if not known:
            return NotFound(f"no search '{name}' in {self}, which holds none yet")
        hint = names.suggestion(name, known)
        return NotFound(f"no search '{name}' in {self}{hint} {names.listing(known)}")


# Of searches that a user has named; the others are stages of these.
_HOLDING = (Command.PAUSE, Command.STOP)
_NAMED = Search.id.not_in(select(Validation.stage_id))


_SEARCH = select(Search, Environment.facts).join(
    Environment, Environment.id == Search.environment_id
)


def _searches(connection: Connection, query: Select[Any]) -> list[SearchRecord]:
    rows = connection.execute(query).all()
    studies = _studies(connection, {row.id: row.name for row in rows})
    return [_search(row, studies[row.id]) for row in rows]


def _search(row: Row[Any], studies: Iterable[StudyRecord]) -> SearchRecord:
    return SearchRecord(
        id=row.id,
        name=row.name,
        spec=row.spec,
        task=row.task,
        state=SearchState(row.state),
        seconds=row.seconds,
        created=row.created,
        updated=row.updated,
        studies=tuple(studies),
        environment=row.facts,
    )


def _studies(connection: Connection, searches: Mapping[int, str]) -> dict[int, list[StudyRecord]]:
    query = (
        select(Study.id, Study.search_id, Study.optimizer, Study.space)
        .where(Study.search_id.in_(searches))
        .order_by(Study.id)
    )
    rows = connection.execute(query).all()
    counts, best, added = _tally(connection, [row.id for row in rows])
    found: dict[int, list[StudyRecord]] = defaultdict(list)
    for row in rows:
        record = StudyRecord(
            id=row.id,
            search=searches[row.search_id],
            optimizer=row.optimizer,
            space=row.space,
            counts=dict(counts[row.id]),
            best=best.get(row.id),
            added=added[row.id],
        )
        found[row.search_id].append(record)
    return found


def _tally(
    connection: Connection, studies: Sequence[int]
) -> tuple[dict[int, dict[str, int]], dict[int, float], dict[int, int]]:
    """Count trials by study and state, find the lowest losses of completed search trials.

    What was measured elsewhere is counted apart.
    """
    columns = (Trial.study_id, Trial.state, Trial.role)
    query = (
        select(*columns, func.count().label("number"), func.min(Trial.loss).label("lowest"))
        .where(Trial.study_id.in_(studies))
        .group_by(*columns)
    )
    counts: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    best: dict[int, float] = {}
    added: dict[int, int] = defaultdict(int)
    for row in connection.execute(query):
        if row.role == Role.ADDED:
            added[row.study_id] += row.number
            continue
        counts[row.study_id][row.state] += row.number
        found = row.lowest is not None and row.state == TrialState.COMPLETE
        if found and row.role == Role.SEARCH:
            best[row.study_id] = row.lowest
    return counts, best, added


def trial(row: Row[Any]) -> TrialRecord:
    """Return a row of ``TRIAL`` as a value."""
    return trial_of(row._asdict())


def trial_of(columns: Mapping[str, Any]) -> TrialRecord:
    """Return the columns of ``TRIAL``, by name, as a value."""
    values = dict(columns)
    setting = Setting(
        params=values.pop("params"), hyper=values.pop("hyper"), warmup=values.pop("warmup")
    )
    # Lines behind the reason are what a command printed last.
    final = bool(values.pop("final"))
    reason, *output = (values.pop("reason") or "").split("\n")
    return TrialRecord(
        reason=reason or None,
        output=tuple(output),
        study=values.pop("study_id"),
        role=Role(values.pop("role")),
        state=TrialState(values.pop("state")),
        setting=setting,
        final=final,
        **values,
    )


def point(row: Sequence[Any]) -> Point:
    """Return a row that begins with ``POINT`` as a value."""
    return Point(step=row[0], seconds=row[1], train_loss=row[2], loss=row[3], accuracy=row[4])
