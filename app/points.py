"""Every point of a study's curves as columns of numbers: as objects they take ten times as much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotune.studies.records import Point

NAMES = ("step", "seconds", "train_loss", "loss", "accuracy", "trial")
STEP, LOSS, TRIAL = (NAMES.index(name) for name in ("step", "loss", "trial"))

Curves = Mapping[int, Sequence[Point]]


class Points(Mapping[int, tuple[Point, ...]]):
    """Points by trial id, each made when it is asked for.

    Args:
        table: Points x ``NAMES``, by trial and step; NaN where nothing was measured.
    """

    def __init__(self, table: NDArray[np.float64]) -> None:
        self.table = table
        self._ids, self._starts = np.unique(table[:, TRIAL].astype(np.int64), return_index=True)
        self._ends = np.append(self._starts[1:], len(table))

    @classmethod
    def read(cls, blocks: Iterable[Sequence[Sequence[Any]]]) -> Points:
        """Return points from blocks of rows, each with ``NAMES``; None where nothing is known."""
        parts = [np.array([tuple(row) for row in block], dtype=np.float64) for block in blocks]
        return cls(np.concatenate([np.empty((0, len(NAMES))), *parts]))

    @classmethod
    def of(cls, curves: Curves) -> Points:
        """Return curves as columns."""
        if isinstance(curves, Points):
            return curves
        rows = [
            (*(getattr(point, name) for name in NAMES[:TRIAL]), trial)
            for trial, points in sorted(curves.items())
            for point in points
        ]
        return cls.read([rows] if rows else [])

    def replaced(self, trials: Sequence[int], others: Points) -> Points:
        """Return the points with those of some trials replaced by others."""
        kept = self.table[~np.isin(self.table[:, TRIAL], trials)]
        merged = np.concatenate([kept, others.table])
        return Points(merged[np.argsort(merged[:, TRIAL], kind="stable")])

    def __getitem__(self, trial: int) -> tuple[Point, ...]:
        place = int(np.searchsorted(self._ids, trial))
        if place == len(self._ids) or self._ids[place] != trial:
            raise KeyError(trial)
        rows = self.table[self._starts[place] : self._ends[place]].tolist()
        return tuple(_point(row) for row in rows)

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids.tolist())

    def __len__(self) -> int:
        return len(self._ids)

    def having(self, metric: str) -> set[int]:
        """Return the ids of the trials of which a metric was measured."""
        measured = ~np.isnan(self.table[:, NAMES.index(metric)])
        return set(self.table[measured, TRIAL].astype(np.int64).tolist())

    def most(self, metric: str) -> int:
        """Return how often a metric was measured of the trial with most measurements of it."""
        if not len(self):
            return 0
        measured = ~np.isnan(self.table[:, NAMES.index(metric)])
        return int(np.add.reduceat(measured, self._starts, dtype=np.int64).max())

    def at(self, step: int) -> dict[int, float]:
        """Return the finite validation losses after so many steps, by trial id."""
        rows = self._finite[self._finite[:, STEP] == step]
        ids = rows[:, TRIAL].astype(np.int64).tolist()
        return dict(zip(ids, rows[:, LOSS].tolist(), strict=True))

    def reached(self, trials: Sequence[int]) -> Counter[int]:
        """Return of how many of some trials there is a finite validation loss, by step."""
        rows = self._finite[np.isin(self._finite[:, TRIAL], trials)]
        steps, counts = np.unique(rows[:, STEP].astype(np.int64), return_counts=True)
        return Counter(dict(zip(steps.tolist(), counts.tolist(), strict=True)))

    def holds(self, trials: Sequence[int], steps: Sequence[int]) -> list[bool]:
        """Return for each pair of a trial and a step whether its validation loss is finite."""
        known = np.sort(_pairs(self._finite[:, TRIAL], self._finite[:, STEP]))
        asked = _pairs(trials, steps)
        first, last = (np.searchsorted(known, asked, side=side) for side in ("left", "right"))
        found: list[bool] = (first < last).tolist()
        return found

    @cached_property
    def _finite(self) -> NDArray[np.float64]:
        return self.table[np.isfinite(self.table[:, LOSS])]


def _pairs(trials: Any, steps: Any) -> NDArray[np.int64]:
    """Return a number for each pair of a trial and a step; a database has fewer than 2^31 each."""
    return np.asarray(trials, dtype=np.int64) * 2**32 + np.asarray(steps, dtype=np.int64)


def _point(row: Sequence[float]) -> Point:
    step, seconds, *measured, _ = row
    train_loss, loss, accuracy = (None if isnan(value) else value for value in measured)
    return Point(
        step=int(step), seconds=seconds, train_loss=train_loss, loss=loss, accuracy=accuracy
    )
