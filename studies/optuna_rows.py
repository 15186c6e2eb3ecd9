"""Many trials into Optuna's tables at once: its own way is a query for each value of each trial."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

SCHEMA = 12  # of Optuna's tables; with another one trials are added one by one


def known(storage: RDBStorage) -> bool:
    """Say whether Optuna's tables are of the schema that is written here."""
    return bool(models.SCHEMA_VERSION == SCHEMA)


def add(storage: RDBStorage, study_id: int, trials: Sequence[FrozenTrial], key: str) -> None:
    """Add the trials whose user attribute ``key`` no trial of the study has."""
    with Session(storage.engine) as session, session.begin():
        # Takes the lock first: another process may be telling of the same trials.
        study = models.StudyModel
        name = {"study_name": study.study_name}
        session.execute(update(study).where(study.study_id == study_id).values(name))
        there = _told(session, study_id, key)
        new = [trial for trial in trials if trial.user_attrs[key] not in there]
        of_study = models.TrialModel.study_id == study_id
        count = session.scalar(select(func.count()).where(of_study)) or 0
        rows = [_row(study_id, count + place, trial) for place, trial in enumerate(new)]
        session.add_all(rows)
        session.flush()
        ids = [row.trial_id for row in rows]
        for table, make in _PARTS:
            parts = [part for i, trial in zip(ids, new, strict=True) for part in make(i, trial)]
            if parts:
                session.execute(insert(table), parts)


def told(storage: RDBStorage, study_id: int, key: str) -> set[int]:
    """Return the values of a user attribute that the trials of a study have."""
    with Session(storage.engine) as session:
        return _told(session, study_id, key)


def _told(session: Session, study_id: int, key: str) -> set[int]:
    attribute = models.TrialUserAttributeModel
    query = (
        select(attribute.value_json)
        .join(models.TrialModel, models.TrialModel.trial_id == attribute.trial_id)
        .where(models.TrialModel.study_id == study_id, attribute.key == key)
    )
    return {json.loads(value) for value in session.scalars(query)}


def _row(study_id: int, number: int, trial: FrozenTrial) -> Any:
    return models.TrialModel(
        study_id=study_id,
        number=number,
        state=trial.state,
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
    )


def _values(trial_id: int, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    if trial.value is not None:
        value, kind = models.TrialValueModel.value_to_stored_repr(trial.value)
        yield {"trial_id": trial_id, "objective": 0, "value": value, "value_type": kind}


def _params(trial_id: int, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for name, value in trial.params.items():
        kind = trial.distributions[name]
        yield {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": kind.to_internal_repr(value),
            "distribution_json": distribution_to_json(kind),
        }


def _user(trial_id: int, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for key, value in trial.user_attrs.items():
        yield {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}


def _system(trial_id: int, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    for key, value in trial.system_attrs.items():
        yield {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}


def _curve(trial_id: int, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
    store = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
    for step, loss in trial.intermediate_values.items():
        value, kind = store(loss)
        yield {
            "trial_id": trial_id,
            "step": step,
            "intermediate_value": value,
            "intermediate_value_type": kind,
        }


_PARTS: tuple[tuple[Any, Any], ...] = (
    (models.TrialValueModel, _values),
    (models.TrialParamModel, _params),
    (models.TrialUserAttributeModel, _user),
    (models.TrialSystemAttributeModel, _system),
    (models.TrialIntermediateValueModel, _curve),
)
