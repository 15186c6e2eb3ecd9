"""Repetitions of every method on every table, paired: the same seeds for all."""

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

Ticked = Callable[[int, int], None]  # told how many plays are over, and how many there are


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How often, how much and how.

    Args:
        reps: Repetitions of each method on each table.
        runs: Full runs that each may spend.
        workers: Trials side by side.
        seed: Of everything random.
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
        """Return after how many full runs recommendations are read."""
        return tuple(sorted({*(c for c in CHECKPOINTS if c < self.runs), self.runs}))


@dataclass(frozen=True, kw_only=True)
class Record:
    """What all methods did on one table.

    Args:
        table: Its name.
        optimizer: What was run.
        settings: How many the grid has.
        seen: Seeds a search could see.
        held: Seeds it was judged on.
        floors: By seed that a search could see: the regret of the best setting on it.
        regrets: By method: repetitions x checkpoints; NaN where a method takes no such budget.
        spent: By method: full runs of each repetition.
        took: By method: time of each repetition, in full runs.
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
    """A table under way."""

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
        """Return what the first repetitions found, of which every method has as many."""
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

    An interrupt ends it with the repetitions that every method on every table has played; before
    there are two of them it is raised.
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
