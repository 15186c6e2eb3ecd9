"""One worker's go at a trial: begun, believed alive for a while, and fenced off by the next."""

from __future__ import annotations

import math
import os
from collections.abc import Container, Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    DateTime,
    Interval,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.sql import ColumnElement

from autotune.studies import gradients
from autotune.studies.errors import LeaseLost, SpecError
from autotune.studies.models import Attempt, CurvePoint, Moment, Trial
from autotune.studies.records import Asked, Point, TrialState

VARIABLE = "AUTOTUNE_LEASE"
LOST = "lost"  # the outcome of an attempt whose worker was not heard of again
KILLED = "killed"  # likewise, where that says nothing about the trial
LEASE = 60.0  # seconds after its last sign of life that a worker is believed alive
ATTEMPTS = 3  # lost in a row, before a trial is given up
_AHEAD = timedelta(seconds=2)  # a sign of life from further in the future: the clock was put back


def lease() -> timedelta:
    """Return how long a worker is believed alive: AUTOTUNE_LEASE in seconds, or LEASE."""
    given = os.environ.get(VARIABLE)
    try:
        seconds = float(given) if given else LEASE
    except ValueError:
        seconds = math.nan
    if not 0.1 <= seconds <= 86400:
        raise SpecError(f"{VARIABLE} must be seconds from 0.1 to 86400, got {given!r}")
    return timedelta(seconds=seconds)


def now(connection: Connection) -> datetime:
    """Return the time on the database's clock, which all workers share."""
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return moment


def clock(connection: Connection, ahead: timedelta = timedelta()) -> ColumnElement[datetime]:
    """Return the database's time, and ``ahead`` of it, for a statement that is sent anyway."""
    if connection.dialect.name == "sqlite":
        return literal(datetime.now(UTC) + ahead, Moment())
    moment = func.clock_timestamp(type_=DateTime(timezone=True))
    return moment + literal(ahead, Interval()) if ahead else moment


def begin(
    connection: Connection,
    trial_id: int,
    asked: Asked,
    stop: int | None = None,
    *,
    revision: int | None = None,
) -> int:
    """Open a trial's next attempt, close the one before it as lost, and return its number.

    ``revision``: of the change that this is part of, if the trial does not have it yet.
    """
    values: dict[str, Any] = {"attempt": Trial.attempt + 1, "state": TrialState.RUNNING}
    values |= {"updated": clock(connection)}
    values |= {} if revision is None else {"revision": revision}
    # Locks the trial on a server; SQLite's writers are alone anyway.
    query = update(Trial).where(Trial.id == trial_id).values(values)
    number: int = connection.execute(query.returning(Trial.attempt)).scalar_one()
    if number > 1:
        _close(connection, trial_id, number - 1, now(connection), LOST)
    enter(connection, trial_id, number, asked, stop=stop)
    return number


def enter(
    connection: Connection, trial_id: int, number: int, asked: Asked, *, stop: int | None
) -> None:
    """Note that a worker runs a trial from now on."""
    moment = clock(connection)
    values = {"started": moment, "heartbeat": moment, "expires": clock(connection, lease())}
    columns = {"number": number, "stop": stop, **vars(asked)}
    connection.execute(insert(Attempt).values(trial_id=trial_id, **columns, **values))


def renew(
    connection: Connection,
    trial_id: int,
    attempt: int,
    outcome: str | None = None,
    *,
    stop: int | None = None,
) -> None:
    """Renew an attempt's lease, or end it by an outcome, in one statement.

    ``stop``: the step that it is heading for from now on, if that changes.

    Raises LeaseLost where it is over. An attempt is closed before the next one begins, so an open
    one is the newest.
    """
    values: dict[str, Any] = {"heartbeat": clock(connection)}
    values |= {"expires": clock(connection, lease())}
    values |= {} if stop is None else {"stop": stop}
    if outcome is not None:
        values |= {"ended": clock(connection), "outcome": outcome}
    which = (Attempt.trial_id == trial_id, Attempt.number == attempt, Attempt.ended.is_(None))
    if not connection.execute(update(Attempt).where(*which).values(values)).rowcount:
        raise LeaseLost(f"attempt {attempt} at trial {trial_id} is over; its report was not stored")


def sign_of_life(connection: Connection, trial_id: int, attempt: int) -> datetime:
    """Renew an attempt's lease, or refuse an attempt that is over; raises LeaseLost."""
    newest = _newest(connection, trial_id)
    if attempt != newest:
        raise LeaseLost(
            f"attempt {attempt} at trial {trial_id} is over, attempt {newest} took its place; "
            "its report was not stored"
        )
    moment = now(connection)
    which = (Attempt.trial_id == trial_id, Attempt.number == attempt, Attempt.ended.is_(None))
    values = {"heartbeat": moment, "expires": moment + lease()}
    open_ones = connection.execute(update(Attempt).where(*which).values(values)).rowcount
    if attempt and not open_ones:
        raise LeaseLost(f"attempt {attempt} at trial {trial_id} is over; its report was not stored")
    return moment


def outcome(connection: Connection, trial_id: int, attempt: int) -> str | None:
    """Return how an attempt ended; None while it has not, or when there is none."""
    which = (Attempt.trial_id == trial_id, Attempt.number == attempt)
    found: str | None = connection.scalar(select(Attempt.outcome).where(*which))
    return found


def expired(moment: datetime) -> tuple[Any, ...]:
    """Return what is true of an open attempt whose worker is believed dead."""
    return (Attempt.ended.is_(None), Attempt.expires < moment)


def _ahead(moment: datetime) -> tuple[Any, ...]:
    return (Attempt.ended.is_(None), Attempt.heartbeat > moment + _AHEAD)


def doubtful(heartbeat: datetime, expires: datetime, moment: datetime) -> bool:
    """Say whether a lease ran out, or its last sign of life came from the future."""
    return expires < moment or heartbeat > moment + _AHEAD


def clock_was_put_back(connection: Connection) -> bool:
    """Say whether a sign of life came from the future."""
    query = select(func.count()).select_from(Attempt).where(*_ahead(now(connection)))
    return bool(connection.scalar(query))


def restart_leases(connection: Connection, moment: datetime) -> None:
    """Let leases that reach into the future of a clock that was put back run from now."""
    values = {"heartbeat": moment, "expires": moment + lease()}
    connection.execute(update(Attempt).where(*_ahead(moment)).values(values))


def lose(
    connection: Connection, trial_id: int, attempt: int, reason: str, *, blame: bool = True
) -> dict[str, Any]:
    """Close an attempt as lost and return what its trial then is: as last saved, or given up.

    Where there is nothing to ``blame`` the trial for, it is tried however often it takes.
    """
    _close(connection, trial_id, attempt, now(connection), LOST if blame else KILLED)
    last = (
        select(Attempt.outcome)
        .where(Attempt.trial_id == trial_id)
        .order_by(Attempt.number.desc())
        .limit(ATTEMPTS)
    )
    ends = list(connection.scalars(last))
    step, kept = _last_save(connection, trial_id, attempt)
    # What was measured after the last save will be measured again.
    beyond = (CurvePoint.trial_id == trial_id, CurvePoint.step > step)
    connection.execute(delete(CurvePoint).where(*beyond))
    gradients.drop(connection, [trial_id], after=step)
    if ends == [LOST] * ATTEMPTS:
        return {"state": TrialState.FAILED, "reason": f"given up after {ATTEMPTS} tries: {reason}"}
    return {"state": TrialState.PAUSED if step else TrialState.WAITING, "reason": reason, **kept}


def _last_save(connection: Connection, trial_id: int, attempt: int) -> tuple[int, dict[str, Any]]:
    """Return the step to go on from, and what changes of the trial if this attempt saved it."""
    columns = select(Trial.step, Trial.saved).where(Trial.id == trial_id)
    step, saved = connection.execute(columns).one()
    if not saved or saved["attempt"] != attempt or saved["step"] <= step:
        return step, {}
    at = (CurvePoint.trial_id == trial_id, CurvePoint.step == saved["step"])
    loss = connection.scalar(select(CurvePoint.loss).where(*at))
    seconds = Trial.seconds + saved["seconds"]
    return saved["step"], {"step": saved["step"], "loss": loss, "seconds": seconds}


def end(connection: Connection, trial_id: int, attempt: int, state: TrialState) -> None:
    """Close an attempt whose trial is not running any more."""
    if state is not TrialState.RUNNING:
        _close(connection, trial_id, attempt, now(connection), state)


def add_points(
    connection: Connection,
    trial_id: int,
    points: Iterable[Point],
    known: Container[int] | None = None,
) -> None:
    """Add points to a curve; a step measured again replaces what was there.

    ``known``: the steps that are there; None where nobody has looked.
    """
    rows = [_point(trial_id, point) for point in {point.step: point for point in points}.values()]
    again = [{"again": row["step"]} for row in rows if known is None or row["step"] in known]
    if again:
        same = (CurvePoint.trial_id == trial_id, CurvePoint.step == bindparam("again"))
        connection.execute(delete(CurvePoint).where(*same), again)
    if rows:
        connection.execute(insert(CurvePoint), rows)


def finite(name: str, value: float | None) -> float | None:
    """Return a number that can be compared with others; raises SpecError for NaN and infinity."""
    if value is not None and not math.isfinite(value):
        raise SpecError(f"{name} must be finite or None, got {value}")
    return value


def _point(trial_id: int, point: Point) -> dict[str, Any]:
    values = asdict(point)
    for name in ("seconds", "train_loss", "loss", "accuracy"):
        finite(f"{name} at step {point.step}", values[name])
    return {"trial_id": trial_id, **values}


def _newest(connection: Connection, trial_id: int) -> int:
    # Locks the trial on a server; SQLite's writers are alone anyway.
    query = select(Trial.attempt).where(Trial.id == trial_id).with_for_update()
    return connection.execute(query).scalar_one()


def _close(
    connection: Connection, trial_id: int, attempt: int, moment: datetime, outcome: str
) -> None:
    connection.execute(
        update(Attempt)
        .where(Attempt.trial_id == trial_id, Attempt.number == attempt, Attempt.ended.is_(None))
        .values(ended=moment, outcome=outcome)
    )
