"""Finished search trials in Optuna's own tables of the same database, for Optuna's tools."""

from __future__ import annotations

import math
import random
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState as OptunaState
from sqlalchemy.exc import SQLAlchemyError

from autotune.studies import optuna_rows, urls
from autotune.studies.database import explain
from autotune.studies.records import Point, Role, TrialRecord, TrialState

# A diverged run is the worst result, not a fault: Optuna's samplers would ignore a FAIL.
_STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.DIVERGED: OptunaState.COMPLETE,
    TrialState.STOPPED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
}
_ID = "autotune_trial"  # user attribute: the store's id of the trial
_BUSY_TIMEOUT = 30.0
_PAUSES = [0.05 * 2**n for n in range(7)]  # seconds at most, between tries to make the tables
_BATCH = 500  # trials written in one transaction


class Mirror:
    """Copy search trials once they are over; an Optuna study is named ``search/optimizer``."""

    def __init__(self, url: str) -> None:
        self._url = urls.normalise(url)
        self._studies: dict[str, optuna.Study] = {}
        self._told: dict[str, set[int]] = {}
        with self._quiet():
            self._storage = self._made()

    def _made(self) -> optuna.storages.RDBStorage:
        """Open Optuna's storage, which makes its tables where there are none."""
        sqlite = urls.file(self._url) is not None
        kwargs: dict[str, Any] = {"pool_pre_ping": True}
        if sqlite:
            kwargs = {"connect_args": {"timeout": _BUSY_TIMEOUT}}
        for pause in _PAUSES:
            try:
                return optuna.storages.RDBStorage(self._url, engine_kwargs=kwargs)
            except (StorageInternalError, SQLAlchemyError) as error:
                if not _quicker(error):
                    raise
            # Another process makes them at this moment, and Optuna takes no lock.
            time.sleep(random.uniform(0.0, pause))
        return optuna.storages.RDBStorage(self._url, engine_kwargs=kwargs)

    def tell_all(
        self,
        study: str,
        trials: Iterable[TrialRecord],
        space: Mapping[str, Sequence[Any]],
        curve: Callable[[int], Iterable[Point]],
    ) -> int:
        """Copy those of the trials that are over and new, with their curves; return how many."""
        over = [t for t in trials if t.role is Role.SEARCH and t.state in _STATES]
        if not over:
            return 0
        with self._quiet():
            mirrored = self._open(study)
            new = [trial for trial in over if trial.id not in self._told[study]]
            for start in range(0, len(new), _BATCH):
                batch = new[start : start + _BATCH]
                self._add(mirrored, [_frozen(trial, space, curve(trial.id)) for trial in batch])
                self._told[study].update(trial.id for trial in batch)
        return len(new)

    def _add(self, study: optuna.Study, frozen: Sequence[optuna.trial.FrozenTrial]) -> None:
        if optuna_rows.known(self._storage):
            optuna_rows.add(self._storage, study._study_id, frozen, _ID)
            return
        for trial in frozen:
            study.add_trial(trial)

    def forget(self, study: str) -> None:
        """Delete a study's copy, if there is one."""
        with self._quiet():
            if study in optuna.get_all_study_names(self._storage):
                optuna.delete_study(study_name=study, storage=self._storage)
        self._studies.pop(study, None)

    def close(self) -> None:
        """Let go of the database."""
        self._storage.engine.dispose()

    def _open(self, name: str) -> optuna.Study:
        if name not in self._studies:
            study = optuna.create_study(
                study_name=name, storage=self._storage, load_if_exists=True, direction="minimize"
            )
            self._told[name] = optuna_rows.told(self._storage, study._study_id, _ID)
            self._studies[name] = study
        return self._studies[name]

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Keep Optuna's chatter from the user's terminal, and its errors in our words."""
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        # Tables of another program under one of Optuna's names are a plain RuntimeError to it.
        except (StorageInternalError, SQLAlchemyError, RuntimeError) as error:
            raise explain(error.__cause__ or error, self._url, "Optuna's tables in") from error
        finally:
            optuna.logging.set_verbosity(level)


def _quicker(error: BaseException) -> bool:
    """Say whether another process made what was to be made."""
    said = f"{error} {error.__cause__}"
    return any(words in said for words in ("already exists", "UNIQUE constraint failed"))


def _frozen(
    trial: TrialRecord, space: Mapping[str, Sequence[Any]], points: Iterable[Point]
) -> optuna.trial.FrozenTrial:
    coordinates = dict(_coordinates(trial, space))
    frozen = optuna.trial.create_trial(
        state=_STATES[trial.state],
        value=_value(trial),
        params={name: value for name, (value, _) in coordinates.items()},
        distributions={name: kind for name, (_, kind) in coordinates.items()},
        user_attrs=_attributes(trial),
        intermediate_values={point.step: point.loss for point in points if point.loss is not None},
        constraints={"diverged": 1.0 if trial.state is TrialState.DIVERGED else -1.0},
    )
    frozen.datetime_start = _local(trial.created) or frozen.datetime_start
    frozen.datetime_complete = _local(trial.updated) or frozen.datetime_complete
    return frozen


def _value(trial: TrialRecord) -> float | None:
    if trial.state is TrialState.DIVERGED:
        return math.inf
    return None if trial.state is TrialState.FAILED else trial.loss


def _coordinates(
    trial: TrialRecord, space: Mapping[str, Sequence[Any]]
) -> Iterator[tuple[str, tuple[Any, BaseDistribution]]]:
    """Pair each coordinate that Optuna can hold with its distribution; `hyper` has the rest."""
    for name, value in trial.setting.params.items():
        kind, *bounds = space.get(name, ("unknown",))
        if kind == "choice" and value in bounds[0]:
            yield name, (value, CategoricalDistribution(tuple(bounds[0])))
        elif kind == "linear" or (kind == "log" and float(value) > 0):
            # A preset may lie outside the space; Optuna lets the range differ by trial.
            low, high = min(bounds[0], value), max(bounds[1], value)
            yield name, (float(value), FloatDistribution(low, high, log=kind == "log"))


def _attributes(trial: TrialRecord) -> dict[str, Any]:
    return {
        _ID: trial.id,
        "number": trial.number,
        "origin": trial.origin,
        "hyper": dict(trial.setting.hyper),
        "warmup": trial.setting.warmup,
        "step": trial.step,
        "target": trial.target,
        "accuracy": trial.accuracy,
        "seconds": trial.seconds,
        "reason": trial.reason,
    }


def _local(moment: datetime | None) -> datetime | None:
    """Return a time as Optuna keeps it: the machine's own, without a zone."""
    return None if moment is None else moment.astimezone().replace(tzinfo=None)
