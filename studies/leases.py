"""What several processes need to run one search: turns at deciding, leases of trials, and news."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, ScalarSelect, and_, func, or_, select, tuple_, update
from sqlalchemy.sql import ColumnElement

from autotune.studies import attempts, retries
from autotune.studies.errors import LeaseLost, NotFound
from autotune.studies.models import Attempt, CurvePoint, Recommendation, Search, Study, Trial
from autotune.studies.reading import POINT, TRIAL, Reader, point, trial
from autotune.studies.records import (
    Answer,
    Changes,
    Command,
    Held,
    Point,
    SearchState,
    TrialRecord,
)
from autotune.studies.retry import Retry, retried

TURN = timedelta(seconds=15)  # to decide in; who takes longer has to ask again


class Leases(Reader):
    """The part of a store by which processes agree who does what; the clock is the database's."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        super().__init__(url, read_only=read_only)
        self.retry = Retry()

    def writing(self) -> AbstractContextManager[Connection]:
        """Change the tables themselves, alone."""
        return self._database.writing()

    @retried
    def take_turn(self, search_id: int, who: str) -> bool:
        """Let one process decide what a search runs next; False while another does."""
        with self._database.writing() as connection:
            return _take_turn(connection, search_id, who) is not None

    @retried
    def decide(
        self, search_id: int, who: str, since: int = -1, *, running: bool = False
    ) -> Changes | None:
        """Take the turn, take back trials of silent workers, and return what happened since.

        One change does all three; None while another process decides.

        Args:
            search_id: The search.
            who: The process that decides.
            since: The revision that it knows.
            running: Let the search's time run until now. What nobody told of counts as at most a
                lease, and nothing of a pause in which no trial runs.
        """
        with self._database.writing() as connection:
            row = _take_turn(connection, search_id, who)
            if row is None:
                return None
            held = _open(connection, search_id)
            if any(attempts.doubtful(one.heartbeat, one.expires, row.now) for one in held):
                self._take_back(connection, search_id, None)
                held = _open(connection, search_id)
            found = _changes(connection, search_id, since, row, held)
            if not running or found.state is SearchState.COMPLETE:
                return found
            idle = found.command is Command.PAUSE and not held
            most = 0.0 if idle or row.ticked is None else attempts.lease().total_seconds()
            return replace(found, seconds=_tick(connection, search_id, row, row.now, most))

    @retried
    def keep_turn(self, search_id: int, who: str) -> None:
        """Let a turn begin anew; raises LeaseLost where another has decided since."""
        with self._database.writing() as connection:
            mine = and_(Search.id == search_id, Search.decider == who)
            values = {"decider_until": attempts.now(connection) + TURN}
            if not connection.execute(update(Search).where(mine).values(values)).rowcount:
                raise LeaseLost(f"the turn of {who} was over before it had decided")

    @retried
    def leave_turn(self, search_id: int, who: str) -> None:
        """Let others decide; nothing happens where they do already."""
        with self._database.writing() as connection:
            _release(connection, search_id, who)

    @retried
    def reap(self, search_id: int, *, worker: str | None = None, blame: bool = True) -> list[int]:
        """Take back the trials of workers that were not heard of, and return their ids.

        Args:
            search_id: The search.
            worker: One that is known to be dead, whatever its leases say.
            blame: Whether what it ran may be why; a command is ended by people and machines.
        """
        with self._database.reading() as connection:
            rows = connection.execute(_stale(connection, search_id, worker)).all()
            ahead = attempts.clock_was_put_back(connection)
        if not rows and not ahead:
            return []
        with self._database.writing() as connection:
            # The search first, as all who write: two who wait for each other would both fail.
            connection.execute(select(Search.id).where(Search.id == search_id).with_for_update())
            return self._take_back(connection, search_id, worker, blame=blame)

    @retried
    def lose(self, trial_id: int, attempt: int, reason: str, *, blame: bool = True) -> TrialRecord:
        """Give back a trial whose worker is gone; it is as it was last saved, or given up.

        Without ``blame`` the attempt does not count: something else than the trial ended it.
        """
        with self._database.writing() as connection:
            if attempts.outcome(connection, trial_id, attempt) is None:
                attempts.sign_of_life(connection, trial_id, attempt)
                self._lose(connection, trial_id, attempt, reason, blame=blame)
            return self._trial(connection, trial_id)

    def failed(self, search_id: int, *, most: int | None = None) -> list[int]:
        """Return the failed trials of a search, without those that failed ``most`` times."""
        with self._database.reading() as connection:
            return retries.failed(connection, search_id, most)

    @retried
    def take_up(self, search_id: int, trials: Sequence[int]) -> None:
        """Let those of the trials that failed wait to be run again from their first step."""
        with self._database.writing() as connection:
            revision = touch(connection, Search.id == search_id)
            again = set(trials) & set(retries.failed(connection, search_id, None))
            if revision is not None and again:
                retries.take_up(connection, sorted(again), revision)

    @retried
    def void(self, trial_id: int, reason: str, *, again: bool) -> TrialRecord:
        """Let nothing that was measured of a trial count; it is run ``again``, or over for good."""
        with self._database.writing() as connection:
            revision = self._touch_trial(connection, trial_id)
            retries.void(connection, trial_id, reason, revision)
            if again:
                retries.take_up(connection, [trial_id], revision)
            return self._trial(connection, trial_id)

    @retried
    def go_on(self, trial_id: int, attempt: int, stop: int, turn: str) -> None:
        """Let a trial train on to a later step, as the process decided whose ``turn`` it was.

        Raises LeaseLost where the attempt is over, or that turn.
        """
        with self._database.writing() as connection:
            self._touch_trial(connection, trial_id, turn)
            attempts.renew(connection, trial_id, attempt, stop=stop)

    @retried
    def beat(self, search_id: int, worker: str, held: Mapping[int, int]) -> Answer:
        """Renew the leases of attempts, given by trial; return what their worker is to do."""
        with self._database.writing() as connection:
            now = attempts.now(connection)
            mine = tuple_(Attempt.trial_id, Attempt.number).in_(list(held.items()))
            which = (Attempt.worker == worker, Attempt.ended.is_(None), mine)
            renewed = connection.scalars(
                update(Attempt)
                .where(*which)
                .values(heartbeat=now, expires=now + attempts.lease())
                .returning(Attempt.trial_id)
            )
            lost = frozenset(held) - frozenset(renewed)
            command = connection.scalar(select(Search.command).where(Search.id == search_id))
        return Answer(command=Command(command or Command.CONTINUE), lost=lost)

    @retried
    def tick(self, search_id: int, seconds: float) -> float:
        """Add the seconds a process has been at a search since it last said so; return the sum.

        What others have said of the same time is not added twice.
        """
        with self._database.writing() as connection:
            now = attempts.now(connection)
            which = Search.id == search_id
            row = connection.execute(
                select(Search.seconds, Search.ticked).where(which).with_for_update()
            ).one_or_none()
            if row is None:
                raise NotFound(f"no search {search_id} in {self}")
            return _tick(connection, search_id, row, now, seconds)

    @retried
    def tell(self, name: str, command: Command, *, seen: Command | None = None) -> bool:
        """Leave a command for all workers of a search, which holds until the next one.

        Args:
            name: The search's.
            command: What they are told.
            seen: What they had been told when this was decided; None: whatever that was.

        Returns:
            Whether they are told it: not where they are told a third thing since ``seen``.

        Raises:
            NotFound: There is no such search.
        """
        query = update(Search).where(Search.name == name).values(command=command)
        if seen is not None:
            query = query.where(_TOLD.in_((seen, command)))
        with self._database.writing() as connection:
            told = bool(connection.execute(query).rowcount)
            if not told and connection.scalar(select(Search.id).where(Search.name == name)) is None:
                raise self._missing(connection, name)
        return told

    @retried
    def changes(self, search_id: int, since: int = -1) -> Changes:
        """Return what happened in a search after the revision ``since``."""
        with self._database.reading() as connection:
            # Read first: what changes meanwhile is newer, and is told again the next time.
            row = connection.execute(select(*_STATE).where(Search.id == search_id)).one_or_none()
            if row is None:
                raise NotFound(f"no search {search_id} in {self}")
            return _changes(connection, search_id, since, row)

    def _take_back(
        self, connection: Connection, search_id: int, worker: str | None, *, blame: bool = True
    ) -> list[int]:
        """Take back the trials of workers that were not heard of, in a search that is locked."""
        attempts.restart_leases(connection, attempts.now(connection))
        query = _stale(connection, search_id, worker)
        stale = connection.execute(query.with_for_update(of=Attempt, skip_locked=True)).all()
        for row in stale:
            reason = f"worker {row.worker} was not heard of again"
            blamed = blame or row.worker != worker
            self._lose(connection, row.trial_id, row.number, reason, blame=blamed)
        return [row.trial_id for row in stale]

    def _lose(
        self,
        connection: Connection,
        trial_id: int,
        attempt: int,
        reason: str,
        *,
        blame: bool = True,
    ) -> None:
        revision = self._touch_trial(connection, trial_id)
        values = attempts.lose(connection, trial_id, attempt, reason, blame=blame)
        values |= {"revision": revision, "updated": attempts.now(connection)}
        connection.execute(update(Trial).where(Trial.id == trial_id).values(values))

    def _touch_trial(self, connection: Connection, trial_id: int, turn: str | None = None) -> int:
        revision = touch(connection, Search.id == search_of(trial_id), turn)
        if revision is None:
            raise NotFound(f"no trial {trial_id} in {self}")
        return revision


_TOLD = func.coalesce(Search.command, Command.CONTINUE)
_STATE = (Search.revision, Search.state, Search.command, Search.seconds, Search.spec)


def search_of(trial_id: int) -> ScalarSelect[int]:
    """Return the search of a trial, as a part of a statement."""
    studies = select(Study.search_id).join(Trial, Trial.study_id == Study.id)
    return studies.where(Trial.id == trial_id).scalar_subquery()


def touch(
    connection: Connection, which: ColumnElement[bool], turn: str | None = None
) -> int | None:
    """Count a change to a search and return how many there were; its other writers wait.

    ``turn``: who decided on the change, and uses up its turn by it; raises LeaseLost where that
    turn is over.
    """
    values: dict[str, Any] = {"revision": Search.revision + 1}
    values |= {"updated": attempts.clock(connection)}
    if turn is not None:
        which = and_(which, Search.decider == turn)
        values |= {"decider": None, "decider_until": None}
    query = update(Search).where(which).values(values).returning(Search.revision)
    revision = connection.scalar(query)
    if revision is None and turn is not None:
        raise LeaseLost(f"the turn of {turn} was over before it had decided")
    return revision


def _take_turn(connection: Connection, search_id: int, who: str) -> Any:
    """Return a search that is free to decide on, with the time; None while another decides."""
    free = or_(
        Search.decider.is_(None),
        Search.decider == who,
        Search.decider_until < attempts.clock(connection),
        Search.decider_until > attempts.clock(connection, 2 * TURN),  # the clock was put back
    )
    values = {"decider": who, "decider_until": attempts.clock(connection, TURN)}
    query = update(Search).where(Search.id == search_id, free).values(values)
    now = attempts.clock(connection).label("now")
    return connection.execute(query.returning(*_STATE, Search.ticked, now)).one_or_none()


def _tick(connection: Connection, search_id: int, row: Any, now: datetime, seconds: float) -> float:
    """Add to a search's time what nobody has told of the last ``seconds``; return the sum."""
    total = float(row.seconds) + _unclaimed(row.ticked, now, seconds)
    values = {"seconds": total, "ticked": now}
    connection.execute(update(Search).where(Search.id == search_id).values(values))
    return total


def _release(connection: Connection, search_id: int, who: str) -> bool:
    mine = and_(Search.id == search_id, Search.decider == who)
    values = {"decider": None, "decider_until": None}
    return connection.execute(update(Search).where(mine).values(values)).rowcount == 1


def _unclaimed(ticked: datetime | None, now: datetime, seconds: float) -> float:
    """Return how much of the last ``seconds`` nobody has told of."""
    since = (now - ticked).total_seconds() if ticked else seconds
    # Behind the last time told, the clock was put back, and says nothing.
    return min(seconds, since) if since >= 0 else seconds


def _stale(connection: Connection, search_id: int, worker: str | None) -> Any:
    dead = and_(*attempts.expired(attempts.now(connection)))
    if worker is not None:
        dead = or_(dead, and_(Attempt.ended.is_(None), Attempt.worker == worker))
    return (
        select(Attempt.trial_id, Attempt.number, Attempt.worker)
        .join(Trial, Trial.id == Attempt.trial_id)
        .join(Study, Study.id == Trial.study_id)
        .where(Study.search_id == search_id, dead)
        .order_by(Attempt.trial_id)
    )


def _curves(connection: Connection, newer: Iterable[Any]) -> dict[int, tuple[Point, ...]]:
    query = (
        select(*POINT, CurvePoint.trial_id)
        .join(Trial, Trial.id == CurvePoint.trial_id)
        .join(Study, Study.id == Trial.study_id)
        .where(*newer)
        .order_by(CurvePoint.trial_id, CurvePoint.step)
    )
    rows: Sequence[Any] = connection.execute(query).all()
    found = groupby(rows, itemgetter(len(POINT)))
    return {trial_id: tuple(map(point, curve)) for trial_id, curve in found}


def _changes(
    connection: Connection, search_id: int, since: int, row: Any, held: Sequence[Any] | None = None
) -> Changes:
    """Return what happened after a revision; ``row`` is the search, read before the rest."""
    newer = (Study.search_id == search_id, Trial.revision > since)
    trials = connection.execute(select(*TRIAL).join(Study).where(*newer).order_by(Trial.id)).all()
    studies = connection.execute(
        select(Study.id, Study.space, Recommendation.content)
        .outerjoin(Recommendation, Recommendation.study_id == Study.id)
        .where(Study.search_id == search_id)
    ).all()
    return Changes(
        revision=row.revision,
        state=SearchState(row.state),
        command=Command(row.command or Command.CONTINUE),
        seconds=row.seconds,
        spec=row.spec,
        trials=tuple(map(trial, trials)),
        curves=_curves(connection, newer) if trials else {},
        held={
            one.trial_id: Held(
                trial=one.trial_id, attempt=one.number, worker=one.worker, stop=one.stop
            )
            for one in (_open(connection, search_id) if held is None else held)
        },
        recommended={one.id: one.content for one in studies if one.content is not None},
        spaces={one.id: one.space for one in studies},
    )


def _open(connection: Connection, search_id: int) -> Sequence[Any]:
    """Return the attempts of a search that have not ended."""
    columns = (Attempt.trial_id, Attempt.number, Attempt.worker, Attempt.stop)
    query = (
        select(*columns, Attempt.heartbeat, Attempt.expires)
        .join(Trial, Trial.id == Attempt.trial_id)
        .join(Study, Study.id == Trial.study_id)
        .where(Study.search_id == search_id, Attempt.ended.is_(None))
    )
    return connection.execute(query).all()
