"""What a service keeps of workers that only know its address: what they hold, asked and saved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, null, or_, select, update

from autotune.studies import attempts, gradients
from autotune.studies.database import storable
from autotune.studies.errors import NotFound
from autotune.studies.leases import search_of, touch
from autotune.studies.models import Attempt, CurvePoint, Search, Study, Trial
from autotune.studies.reading import POINT, TRIAL, point, trial, trial_of
from autotune.studies.records import (
    Asked,
    Command,
    Gradient,
    Point,
    SearchState,
    TrialRecord,
    TrialState,
)
from autotune.studies.store import Store

_GONE = "its worker asked anew without ending it"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A state that a remote worker keeps where it likes.

    Args:
        uri: Where, in the worker's own words.
        step: Steps taken.
        sha256: Of the state, if the worker says it.
    """

    uri: str
    step: int
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Lease:
    """One attempt at a trial, with what its worker has to know.

    Args:
        search: Name of the search.
        search_id: Its id.
        study: The optimizer.
        trial: The trial as stored.
        attempt: Number of the attempt.
        newest: Number of the trial's newest attempt.
        worker: Who holds it.
        request: What it was asked by.
        token: Number of the token by which it was asked, if there were any.
        pauses: Whether its worker can go on with the trial later.
        stop: The step to train to, or at which it is decided whether the trial goes on.
        seconds: Since it began, on the database's clock.
        outcome: How it ended; None while it is open.
        saved: The last state that was saved.
        spec: The search's.
        task: Facts of the search's task.
        state: The search's.
        command: What the search's workers are told.
        spent: Seconds that the search has taken.
    """

    search: str
    search_id: int
    study: str
    trial: TrialRecord
    attempt: int
    newest: int
    worker: str
    request: str | None
    token: int | None
    pauses: bool
    stop: int
    seconds: float
    outcome: str | None
    saved: Saved | None
    spec: Mapping[str, Any]
    task: Mapping[str, Any]
    state: SearchState
    command: Command
    spent: float

    @property
    def who(self) -> str:
        """Return what the trial is called in a sentence."""
        return f"{self.study} trial {self.trial.number}"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a search stands, read at once however many trials it has."""

    id: int
    name: str
    revision: int
    state: SearchState
    command: Command

    @property
    def tag(self) -> str:
        """Return a word that changes with anything that is told of the search."""
        return f"{self.id}-{self.revision}-{self.command}"


_EXTRA = (
    Trial.saved.label("kept"),
    Attempt.number.label("own"),
    Trial.attempt.label("newest"),
    Attempt.worker,
    Attempt.request,
    Attempt.token,
    Attempt.pauses,
    Attempt.stop,
    Attempt.started,
    Attempt.ended,
    Attempt.outcome,
    Study.optimizer,
    Search.id.label("search_id"),
    Search.name,
    Search.spec,
    Search.task,
    Search.state.label("standing"),
    Search.command,
    Search.seconds.label("spent"),
)


def standings(store: Store, names: Iterable[str]) -> dict[str, Standing]:
    """Return how the searches of some names stand, those that there are."""
    columns = (Search.id, Search.name, Search.revision, Search.state, Search.command)
    with store.reading() as connection:
        rows = connection.execute(select(*columns).where(Search.name.in_(list(names)))).all()
    return {
        row.name: Standing(
            id=row.id,
            name=row.name,
            revision=row.revision,
            state=SearchState(row.state),
            command=Command(row.command or Command.CONTINUE),
        )
        for row in rows
    }


def standing(store: Store, name: str) -> Standing:
    """Return how a search stands; raises NotFound."""
    found = standings(store, [name])
    if name not in found:
        store.search(name)  # raises NotFound with the names that there are
    return found[name]


def lease_of(store: Store, trial_id: int, attempt: int) -> Lease:
    """Return an attempt; raises NotFound."""
    with store.reading() as connection:
        which = (Attempt.trial_id == trial_id, Attempt.number == attempt)
        found = _leases(connection, _QUERY.where(*which))
    if not found:
        raise _missing(store, trial_id, attempt)
    return found[0]


def leases_of(store: Store, search_id: int, asked: Asked) -> list[Lease]:
    """Return what a request of a worker was answered with, and all that the worker holds.

    Another token's is another worker's, whatever it calls itself.
    """
    mine = or_(Attempt.ended.is_(None), Attempt.request == asked.request)
    known = or_(Attempt.token.is_(None), Attempt.token == asked.token)
    with store.reading() as connection:
        which = (Study.search_id == search_id, Attempt.worker == asked.worker, mine, known)
        return _leases(connection, _QUERY.where(*which))


def begin_again(store: Store, lease: Lease, asked: Asked) -> int | None:
    """Give a trial back to the worker that held it, as it was last saved.

    Returns the number of the new attempt; None where another has it, or it was lost too often.
    """
    trial_id = lease.trial.id
    with store.writing() as connection:
        revision = touch(connection, Search.id == lease.search_id)
        open_ = (Attempt.trial_id == trial_id, Attempt.number == lease.attempt)
        query = select(Attempt.id).where(*open_, Attempt.ended.is_(None)).with_for_update()
        if connection.scalar(query) is None:
            return None
        values = attempts.lose(connection, trial_id, lease.attempt, _GONE)
        values |= {"revision": revision, "updated": attempts.now(connection)}
        connection.execute(update(Trial).where(Trial.id == trial_id).values(values))
        if values["state"] == "failed":
            return None
        return attempts.begin(connection, trial_id, asked, lease.stop)


@dataclass(frozen=True, kw_only=True)
class Telling:
    """A lease while its worker tells of it: what is stored of it is one change of the search.

    Args:
        lease: The lease.
        curve: The trial's measurements, by step.
        connection: The transaction that holds the search.
    """

    lease: Lease
    curve: Mapping[int, Point]
    connection: Connection

    def add(
        self,
        points: Sequence[Point],
        saved: Saved | None = None,
        *,
        lost: bool,
        measured: Sequence[Gradient] = (),
    ) -> None:
        """Store measurements, and where the worker keeps the state of its trial.

        Args:
            points: The measurements; a step measured again replaces what was there.
            saved: The state; None leaves what is known.
            lost: No state can be read any more.
            measured: Of gradients, on the same terms.

        Raises:
            LeaseLost: The lease is over.
        """
        attempts.renew(self.connection, self.lease.trial.id, self.lease.attempt)
        attempts.add_points(self.connection, self.lease.trial.id, points, self.curve)
        gradients.add(self.connection, self.lease.trial.id, measured)
        values: dict[str, Any] = {"saved": null()} if lost else {}
        if saved is not None:
            own = {"attempt": self.lease.attempt, "seconds": self.lease.seconds}
            values = {"saved": {**vars(saved), **own}}
        self._change(values)

    def end(
        self,
        state: TrialState,
        step: int,
        reason: str | None,
        *,
        loss: float | None = None,
        accuracy: float | None = None,
    ) -> TrialRecord:
        """End the lease, and store how its trial stands; raises LeaseLost where it is over."""
        attempts.renew(self.connection, self.lease.trial.id, self.lease.attempt, state)
        values = {
            "state": state,
            "step": step,
            "loss": loss,
            "accuracy": accuracy,
            "seconds": Trial.seconds + max(0.0, self.lease.seconds),
            "reason": storable(reason),
        }
        # A file that a process beside the database saved is of fewer steps than these.
        values |= {"checkpoint": None, "checksum": None}
        values |= {"final": True} if state is TrialState.STOPPED else {}
        return self._change({**values, "updated": attempts.clock(self.connection)})

    def give_back(self, reason: str) -> TrialRecord:
        """End the lease without blame for its trial, which is as it was last saved."""
        attempts.renew(self.connection, self.lease.trial.id, self.lease.attempt)
        lost = (self.lease.trial.id, self.lease.attempt, reason)
        values = attempts.lose(self.connection, *lost, blame=False)
        return self._change({**values, "updated": attempts.clock(self.connection)})

    def _change(self, values: Mapping[str, Any]) -> TrialRecord:
        revision = touch(self.connection, Search.id == self.lease.search_id)
        query = update(Trial).where(Trial.id == self.lease.trial.id)
        query = query.values(**values, revision=revision)
        return trial(self.connection.execute(query.returning(*TRIAL)).one())


@contextmanager
def telling(store: Store, trial_id: int, attempt: int) -> Iterator[Telling]:
    """Hold a lease's search while the lease's worker tells of it; raises NotFound.

    Where the caller raises, nothing is stored.
    """
    with store.writing() as connection:
        # The search first, as all who write: two who wait for each other would both fail.
        held = select(Search.id).where(Search.id == search_of(trial_id)).with_for_update()
        connection.execute(held)
        which = (Attempt.trial_id == trial_id, Attempt.number == attempt)
        found = _leases(connection, _QUERY.where(*which))
        if not found:
            raise _missing(store, trial_id, attempt)
        query = select(*POINT).where(CurvePoint.trial_id == trial_id).order_by(CurvePoint.step)
        curve = {row.step: point(row) for row in connection.execute(query)}
        yield Telling(lease=found[0], curve=curve, connection=connection)


def _missing(store: Store, trial_id: int, attempt: int) -> NotFound:
    return NotFound(f"no lease {trial_id}.{attempt} in {store}; ask for one")


def elapse(store: Store, search_id: int, most: float) -> float:
    """Let a search's time run until now, and return it in seconds.

    Args:
        store: Where the search is.
        search_id: The search.
        most: Seconds since the last call that count at most: longer ones had no worker.
    """
    with store.reading() as connection:
        query = select(Search.ticked).where(Search.id == search_id)
        begun = connection.scalar(query) is not None
    return store.tick(search_id, most if begun else 0.0)


_QUERY = (
    select(*TRIAL, *_EXTRA)
    .join(Attempt, Attempt.trial_id == Trial.id)
    .join(Study, Study.id == Trial.study_id)
    .join(Search, Search.id == Study.search_id)
    .order_by(Trial.id, Attempt.number)
)


def _leases(connection: Connection, query: Select[Any]) -> list[Lease]:
    moment = attempts.clock(connection).label("now")
    return [_lease(row) for row in connection.execute(query.add_columns(moment)).all()]


def _lease(row: Any) -> Lease:
    names = {column.name for column in TRIAL}
    columns = {name: value for name, value in row._mapping.items() if name in names}
    kept = row.kept or None
    return Lease(
        search=row.name,
        search_id=row.search_id,
        study=row.optimizer,
        trial=trial_of(columns),
        attempt=row.own,
        newest=row.newest,
        worker=row.worker,
        request=row.request,
        token=row.token,
        pauses=row.pauses is not False,
        stop=row.stop or row.target,
        seconds=((row.ended or row.now) - row.started).total_seconds(),
        outcome=row.outcome if row.ended else None,
        saved=Saved(**{key: kept[key] for key in ("uri", "step", "sha256")}) if kept else None,
        spec=row.spec,
        task=row.task,
        state=SearchState(row.standing),
        command=Command(row.command or Command.CONTINUE),
        spent=row.spent,
    )
