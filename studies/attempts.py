"""One worker's go at a trial: begun, believed alive for a while, and fenced off by the next."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from autotune.studies.errors import SpecError, StorageError
from autotune.studies.models import Attempt, CurvePoint, Trial
from autotune.studies.records import Point, TrialState

LEASE = timedelta(minutes=10)  # how long after its last sign of life a worker is believed alive


def now(connection: Connection) -> datetime:
    """Return the time on the server's clock, which all workers share."""
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    moment: datetime = connection.execute(select(func.now())).scalar_one()
    return moment


def begin(connection: Connection, trial_id: int, worker: str) -> int:
    """Open a trial's next attempt, close the one before it as lost, and return its number."""
    moment = now(connection)
    newest = _newest(connection, trial_id)
    _close(connection, trial_id, newest, moment, "lost")
    connection.execute(
        insert(Attempt).values(
            trial_id=trial_id,
            number=newest + 1,
            worker=worker,
            started=moment,
            heartbeat=moment,
            expires=moment + LEASE,
        )
    )
    values = {"attempt": newest + 1, "state": TrialState.RUNNING, "updated": moment}
    connection.execute(update(Trial).where(Trial.id == trial_id).values(values))
    return newest + 1


def sign_of_life(connection: Connection, trial_id: int, attempt: int) -> datetime:
    """Renew an attempt's lease, or refuse an attempt that another has replaced."""
    newest = _newest(connection, trial_id)
    if attempt != newest:
        raise StorageError(
            f"attempt {attempt} at trial {trial_id} is over, attempt {newest} took its place; "
            "its report was not stored"
        )
    moment = now(connection)
    connection.execute(
        update(Attempt)
        .where(Attempt.trial_id == trial_id, Attempt.number == attempt)
        .values(heartbeat=moment, expires=moment + LEASE)
    )
    return moment


def end(connection: Connection, trial_id: int, attempt: int, state: TrialState) -> None:
    """Close an attempt whose trial is not running any more."""
    if state is not TrialState.RUNNING:
        _close(connection, trial_id, attempt, now(connection), state)


def add_points(connection: Connection, trial_id: int, points: Iterable[Point]) -> None:
    """Add points to a curve; a step measured again replaces what was there."""
    rows = [_point(trial_id, point) for point in {point.step: point for point in points}.values()]
    if not rows:
        return
    same = (CurvePoint.trial_id == trial_id, CurvePoint.step == bindparam("again"))
    connection.execute(delete(CurvePoint).where(*same), [{"again": row["step"]} for row in rows])
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
