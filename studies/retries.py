"""Trials that failed are taken up again, for a mount may have failed; what was over goes on."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.sql import ColumnElement

from autotune.studies import attempts, gradients
from autotune.studies.database import storable
from autotune.studies.models import Attempt, CurvePoint, Recommendation, Study, Trial
from autotune.studies.records import Role, TrialState

_OUTCOMES = (TrialState.FAILED, attempts.LOST)


def failed(connection: Connection, search_id: int, most: int | None) -> list[int]:
    """Return the failed trials of a search, without those that failed ``most`` times."""
    which = (Study.search_id == search_id, Trial.state == TrialState.FAILED)
    query = select(Trial.id).join(Study, Study.id == Trial.study_id).where(*which)
    query = query.where(Trial.final.is_not(True))  # else it is void
    found = list(connection.scalars(query.order_by(Trial.id)))
    return [each for each in found if most is None or _times(connection, each) < most]


def _times(connection: Connection, trial_id: int) -> int:
    """Return how often a trial failed; lost workers count as one failure once it is given up."""
    which = (Attempt.trial_id == trial_id, Attempt.outcome.in_(_OUTCOMES))
    columns = (Attempt.outcome, func.count().label("number"))
    query = select(*columns).where(*which).group_by(Attempt.outcome)
    counts: dict[str, int] = {row.outcome: row.number for row in connection.execute(query)}
    lost = counts.get(attempts.LOST, 0)
    return counts.get(TrialState.FAILED, 0) + max(0, lost - attempts.ATTEMPTS + 1)


def take_up(connection: Connection, trials: Sequence[int], revision: int) -> None:
    """Let trials wait for their first step as if never begun, and reopen their searching."""
    connection.execute(delete(CurvePoint).where(CurvePoint.trial_id.in_(trials)))
    gradients.drop(connection, trials)
    values = {
        "state": TrialState.WAITING,
        "step": 0,
        **dict.fromkeys(("loss", "accuracy", "reason", "checkpoint", "checksum", "saved", "final")),
        "updated": attempts.now(connection),
        "revision": revision,
    }
    connection.execute(update(Trial).where(Trial.id.in_(trials)).values(values))
    studies = select(Trial.study_id).where(Trial.id.in_(trials), Trial.role == Role.SEARCH)
    reopen(connection, Recommendation.study_id.in_(studies))


def void(connection: Connection, trial_id: int, reason: str, revision: int) -> None:
    """Let nothing that was measured of a trial count, and end it for good.

    Whoever runs it learns that its attempt is over; the steps that were taken stay spent.
    """
    moment = attempts.now(connection)
    which = (Attempt.trial_id == trial_id, Attempt.ended.is_(None))
    ended = {"ended": moment, "outcome": attempts.KILLED}
    connection.execute(update(Attempt).where(*which).values(ended))
    connection.execute(delete(CurvePoint).where(CurvePoint.trial_id == trial_id))
    gradients.drop(connection, [trial_id])
    values = {
        "state": TrialState.FAILED,
        "final": True,
        "reason": storable(reason),
        **dict.fromkeys(("loss", "accuracy", "checkpoint", "checksum", "saved")),
        "updated": moment,
        "revision": revision,
    }
    connection.execute(update(Trial).where(Trial.id == trial_id).values(values))
    studies = select(Trial.study_id).where(Trial.id == trial_id, Trial.role == Role.SEARCH)
    reopen(connection, Recommendation.study_id.in_(studies))


def reopen(connection: Connection, which: ColumnElement[bool]) -> None:
    """Forget for which budget studies are over, and why they ended; what they recommend stays."""
    columns = (Recommendation.study_id, Recommendation.content)
    for row in connection.execute(select(*columns).where(which)).all():
        kept = {key: value for key, value in row.content.items() if key not in {"budget", "ended"}}
        own = Recommendation.study_id == row.study_id
        connection.execute(update(Recommendation).where(own).values(content=kept))
