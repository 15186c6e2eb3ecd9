"""Trials and curves as data frames, for notebooks; pandas is an extra."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autotune.errors import MissingExtra
from autotune.studies.records import Point, TrialRecord

if TYPE_CHECKING:
    from pandas import DataFrame

_WHO = ("optimizer", "number", "role", "state", "origin")
_OUTCOME = ("warmup", "seed", "step", "target", "loss", "accuracy", "seconds", "reason")
_POINT = ("optimizer", "number", "step", "seconds", "train_loss", "loss", "accuracy")

_MEASURED = frozenset({"train_loss", "loss", "accuracy"})


def trials(found: Mapping[str, Sequence[TrialRecord]]) -> DataFrame:
    """Return a row for each trial by optimizer, with a column for each part of its setting."""
    rows = [_trial(name, one) for name, those in found.items() for one in those]
    hyper = dict.fromkeys(key for row in rows for key in row if key not in (*_WHO, *_OUTCOME))
    return _frame(rows, (*_WHO, *hyper, *_OUTCOME))


def curves(
    found: Mapping[str, Sequence[TrialRecord]], points: Mapping[int, Iterable[Point]]
) -> DataFrame:
    """Return a row for each point of each trial; ``points`` are by the trial's id."""
    rows = [
        {"optimizer": name, "number": one.number, **vars(point)}
        for name, those in found.items()
        for one in those
        for point in points.get(one.id, ())
    ]
    return _frame(rows, _POINT)


def _trial(optimizer: str, trial: TrialRecord) -> dict[str, Any]:
    """Return a trial's columns; betas are a tuple, as torch takes them."""
    hyper = {k: tuple(v) if isinstance(v, list) else v for k, v in trial.setting.hyper.items()}
    facts = {name: getattr(trial, name) for name in (*_WHO[1:], *_OUTCOME[1:])}
    facts |= {"role": str(trial.role), "state": str(trial.state)}
    return {"optimizer": optimizer, **hyper, "warmup": trial.setting.warmup, **facts}


def _frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> DataFrame:
    try:
        from pandas import DataFrame
    except ImportError as error:
        raise MissingExtra(
            "data frames need pandas, which the dashboard extra brings: "
            "pip install 'adan-autotune[dashboard]'"
        ) from error
    cells = [[_cell(name, row.get(name)) for name in columns] for row in rows]
    return DataFrame(cells, columns=list(columns))


def _cell(column: str, value: Any) -> Any:
    """Return a number for what was not measured: a column of None is no column of numbers."""
    return math.nan if value is None and column in _MEASURED else value
