"""What was measured of trials' gradients: a row a step, for trials of which that was asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, insert, select

from autotune.studies.models import StepGradient
from autotune.studies.records import Gradient

if TYPE_CHECKING:
    from autotune.studies.reading import Reader

_COLUMNS = (
    StepGradient.step,
    StepGradient.l1,
    StepGradient.l2,
    StepGradient.variance,
    StepGradient.square,
)


def add(connection: Connection, trial_id: int, measured: Iterable[Gradient]) -> None:
    """Add what was measured; steps that were measured before, and those between, are replaced."""
    by_step = {one.step: one for one in measured}
    if by_step:
        between = StepGradient.step.between(min(by_step), max(by_step))
        connection.execute(delete(StepGradient).where(StepGradient.trial_id == trial_id, between))
        rows = [{"trial_id": trial_id, **asdict(one)} for one in by_step.values()]
        connection.execute(insert(StepGradient), rows)


def drop(connection: Connection, trials: Sequence[int], after: int = 0) -> None:
    """Forget what was measured of trials after a step."""
    which = (StepGradient.trial_id.in_(trials), StepGradient.step > after)
    connection.execute(delete(StepGradient).where(*which))


def of(store: Reader, trial_id: int) -> tuple[Gradient, ...]:
    """Return what was measured of a trial, by step."""
    query = select(*_COLUMNS).where(StepGradient.trial_id == trial_id).order_by(StepGradient.step)
    with store.reading() as connection:
        return tuple(Gradient(**row._asdict()) for row in connection.execute(query))
