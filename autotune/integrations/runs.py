"""A search as runs of an experiment tracker: one for each trial, and one for the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Protocol

from autotune.studies.records import NO_SEED, Point, SearchRecord, TrialRecord, TrialState
from autotune.studies.setting import flat

# What a tracker is told of a task. A command, its paths and its data's place may hold secrets.
FACTS = ("model", "steps", "batch_size", "parameters", "precision", "device")
MEASURED = ("train_loss", "loss", "accuracy")
BAD = (TrialState.DIVERGED, TrialState.FAILED)
OVER = (TrialState.COMPLETE, TrialState.STOPPED, *BAD)


class Found(Protocol):
    """What a search found: ``autotune.tune`` and ``autotune.load`` return one."""

    comparison: Any

    def records(self) -> Iterable[tuple[str, TrialRecord, Sequence[Point]]]:
        """Yield the optimizer, the trial and its curve, of each trial."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A trial, as a tracker shows it.

    Args:
        key: What tells it from every other run, the same each time it is logged.
        name: As ``adan 17``.
        stage: ``search``, ``select`` or ``judge``.
        params: What it is trained with; numbers and words.
        points: Its measurements by name, with the step of each.
        state: How it stands.
        told: What a person should know of it.
        began: When it was first tried.
        ended: When it was last heard of; None while it may go on.
    """

    key: str
    name: str
    stage: str
    params: Mapping[str, float | int | str | bool | None]
    points: Sequence[tuple[int, Mapping[str, float]]]
    state: TrialState
    told: Mapping[str, str]
    began: datetime | None
    ended: datetime | None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a search concluded, as a tracker shows it.

    Args:
        key: What tells it from every other search's.
        name: Of the search.
        params: Facts of its task.
        numbers: Losses on fresh seeds with the ends of their intervals, and paired differences.
        sentences: What may be concluded, the most important first.
        complete: Whether the search reached the end of its budget.
    """

    key: str
    name: str
    params: Mapping[str, Any]
    numbers: Mapping[str, float]
    sentences: Sequence[str]
    complete: bool


def verdict(found: Found) -> Verdict:
    """Return the verdict of a search, as far as it went."""
    search: SearchRecord = found.comparison.search
    return Verdict(
        key=_key(search),
        name=search.name,
        params={name: search.task[name] for name in FACTS if name in search.task},
        numbers=dict(_numbers(found.comparison.rows)),
        sentences=tuple(found.comparison.sentences),
        complete=search.state == "complete",
    )


def trials(found: Found) -> Iterator[Run]:
    """Yield the trials of a search."""
    key = _key(found.comparison.search)
    for optimizer, trial, curve in found.records():
        yield Run(
            key=f"{key}-{optimizer}-{trial.number}",
            name=f"{optimizer} {trial.number}",
            stage=trial.role.value,
            params=dict(_params(optimizer, trial)),
            points=[(p.step, measured) for p in curve if (measured := _measured(p))],
            state=trial.state,
            told=dict(_told(trial)),
            began=trial.created,
            ended=trial.updated if trial.state in OVER else None,
        )


def _key(search: SearchRecord) -> str:
    """Return what is the same whenever a search is logged, and no other's."""
    return sha256(f"{search.name} {search.created.isoformat()}".encode()).hexdigest()[:16]


def _params(optimizer: str, trial: TrialRecord) -> Iterator[tuple[str, Any]]:
    yield "optimizer", optimizer
    yield from flat(trial.setting.hyper)
    yield from {"warmup": trial.setting.warmup, "steps": trial.target}.items()
    if trial.seed != NO_SEED:
        yield "seed", trial.seed


def _measured(point: Point) -> dict[str, float]:
    values = {name: getattr(point, name) for name in MEASURED}
    return {name: value for name, value in values.items() if value is not None}


def _told(trial: TrialRecord) -> Iterator[tuple[str, str]]:
    yield "origin", trial.origin
    if trial.state is TrialState.DIVERGED and trial.reason:
        yield "reason", trial.reason  # of a failed one it is the user's own error, with any text


def _numbers(rows: Iterable[Any]) -> Iterator[tuple[str, float]]:
    for row in rows:
        pairs = {
            "default loss": row.default.loss,
            "tuned loss": row.tuned.loss,
            "tuned - default": row.difference,
            "tuned - tuned adamw": row.against_reference,
        }
        for name, estimate in pairs.items():
            ends = {"": "mean", " low": "low", " high": "high"} if estimate else {}
            for ending, part in ends.items():
                if (value := getattr(estimate, part)) is not None:
                    yield f"{row.optimizer}/{name}{ending}", float(value)
