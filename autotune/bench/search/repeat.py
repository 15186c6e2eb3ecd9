"""Repeat every method on every table, with the same seeds for all methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autotune.bench.search.grid import Ground, ground
from autotune.bench.search.methods import Method
from autotune.bench.search.play import Arena
from autotune.bench.search.regret import Judge, floors, split
from autotune.bench.search.table import Floats, Table
from autotune.errors import SpecError
from autotune.seeds import derive

CHECKPOINTS = (2.0, 5.0, 10.0, 20.0, 30.0, 50.0, 100.0)

Ticked = Callable[[int, int], None]  # gets the number of finished repetitions, and of all


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How the methods are compared.

    Args:
        reps: Repetitions of each method on each table.
        runs: Full runs that each may spend.
        workers: Trials that run at the same time.
        seed: Seed of all random choices.
    """

    reps: int
    runs: float
    workers: int
    seed: int

    def __post_init__(self) -> None:
        if self.reps < 2:
            raise SpecError(f"reps must be at least 2 to compare anything, got {self.reps}")
        if not 1 <= self.runs < math.inf:
            raise SpecError(f"budget must be finite and pay one full run, got {self.runs:g}")

    @property
    def checkpoints(self) -> tuple[float, ...]:
        """Return the numbers of full runs after which recommendations are read."""
        return tuple(sorted({*(c for c in CHECKPOINTS if c < self.runs), self.runs}))


@dataclass(frozen=True, kw_only=True)
class Record:
    """The results of all methods on one table.

    Args:
        table: Its name.
        optimizer: The optimizer that was recorded.
        settings: Settings in the grid.
        seen: Seeds that a search could see.
        held: Seeds that judged it.
        floors: For each seen seed, the regret of the best setting on it.
        regrets: By method, repetitions x checkpoints; NaN if a method cannot use that budget.
        spent: By method, full runs of each repetition.
        took: By method, time of each repetition in full runs.
    """

    table: str
    optimizer: str
    settings: int
    seen: int
    held: int
    floors: Sequence[float]
    regrets: Mapping[str, Floats]
    spent: Mapping[str, Floats]
    took: Mapping[str, Floats]


@dataclass(kw_only=True)
class _Field:
    """A table and the results on it so far."""

    ground: Ground
    judge: Judge
    held: int
    rows: dict[str, list[list[float]]]
    costs: dict[str, list[tuple[float, float]]]

    def play(self, name: str, method: Method, protocol: Protocol, rep: int) -> None:
        seed = derive("bench", protocol.seed, self.ground.table.name, rep)
        arena = Arena(ground=self.ground, runs=protocol.runs, workers=protocol.workers, seed=seed)
        played = method(arena, protocol.checkpoints)
        numbers = played.numbers
        regrets = [np.nan if n is None else self.judge.regret(n) for n in numbers]
        self.rows[name].append(regrets)
        self.costs[name].append((played.spent, played.took))

    def record(self, reps: int) -> Record:
        """Return the results of the first ``reps`` repetitions, which every method has."""
        table = self.ground.table
        costs = {name: np.array(rows[:reps]) for name, rows in self.costs.items()}
        return Record(
            table=table.name,
            optimizer=self.ground.optimizer,
            settings=len(self.judge.truth),
            seen=table.seeds,
            held=self.held,
            floors=floors(table, self.judge),
            regrets={name: np.array(rows[:reps]) for name, rows in self.rows.items()},
            spent={name: pairs[:, 0] for name, pairs in costs.items()},
            took={name: pairs[:, 1] for name, pairs in costs.items()},
        )


def repeat(
    tables: Sequence[Table],
    methods: Mapping[str, Method],
    protocol: Protocol,
    ticked: Ticked = lambda over, all: None,
) -> tuple[list[Record], bool]:
    """Return a record of each table, and whether all repetitions were played.

    After an interrupt, only the repetitions count that every method finished on every table; with
    fewer than two of them, the interrupt is raised.
    """
    fields = [_field(table, methods) for table in tables]
    total, over, done = protocol.reps * len(tables) * len(methods), 0, 0
    try:
        for rep in range(protocol.reps):
            for field in fields:
                for name, method in methods.items():
                    field.play(name, method, protocol, rep)
                    over += 1
                    ticked(over, total)
            done = rep + 1
    except KeyboardInterrupt:
        if done < 2:
            raise
    return [field.record(done) for field in fields], done == protocol.reps


def _field(table: Table, methods: Mapping[str, Method]) -> _Field:
    seen, judge = split(table)
    return _Field(
        ground=ground(seen),
        judge=judge,
        held=table.seeds - seen.seeds,
        rows={name: [] for name in methods},
        costs={name: [] for name in methods},
    )
