"""The row of a new trial: its number in the study, and a column for each part of its proposal."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, case, func, insert, select
from sqlalchemy.sql import ColumnElement

from autotune.studies import attempts
from autotune.studies.models import Trial
from autotune.studies.reading import TRIAL
from autotune.studies.records import Proposal, Role, TrialState
from autotune.studies.setting import Setting


def insert_into(
    connection: Connection, study_id: int, proposal: Proposal, *, revision: int, **begun: Any
) -> Any:
    """Add a trial to a study and return its row.

    Args:
        connection: A transaction that holds the search.
        study_id: The study.
        proposal: The trial.
        revision: Of the search, by this change.
        begun: What it has beyond that of a trial which waits for its first step.
    """
    moment = attempts.clock(connection)
    values = {"state": TrialState.WAITING, "attempt": 0, "step": 0, **begun}
    query = insert(Trial).values(
        **_columns(proposal),
        **values,
        study_id=study_id,
        number=_number(study_id, proposal.role),
        revision=revision,
        seconds=0.0,
        created=moment,
        updated=moment,
    )
    return connection.execute(query.returning(*TRIAL)).one()


def _number(study_id: int, role: Role) -> ColumnElement[int]:
    """Return a trial's number: 0 is kept for the default, the first that is run here."""
    own, added = Trial.study_id == study_id, role is Role.ADDED
    query = select(func.coalesce(func.max(Trial.number) + 1, int(added))).where(own)
    following = query.scalar_subquery()
    default = select(Trial.id).where(own, Trial.number == 0).exists()
    return following if added else case((default, following), else_=0)


def _columns(proposal: Proposal) -> dict[str, Any]:
    """Return a proposal's columns: a setting has none of its own, but one for each part."""
    values = dict(vars(proposal))
    setting: Setting = values.pop("setting")
    plain = {"params": dict(setting.params), "hyper": dict(setting.hyper)}
    return {**values, **plain, "warmup": setting.warmup}
