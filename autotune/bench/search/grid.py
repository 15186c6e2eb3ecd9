"""The grid of a table as a search space, in which only its settings are proposed."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from autotune import optimizers
from autotune.bench.search.table import Table
from autotune.errors import SpecError, UnknownName
from autotune.registry import unknown
from autotune.space.coordinates import Params, Value, encode
from autotune.space.presets import presets_of
from autotune.space.spaces import Candidate, Range, Space, known
from autotune.studies.setting import Setting

RENAMED = {"reckless": "gamma1"}  # name in a table -> coordinate of a space


@dataclass(frozen=True, kw_only=True)
class Levels(Range):
    """A range with a few allowed values, each with an equal part of [0, 1]."""

    values: tuple[float, ...]

    def at(self, unit: float) -> float:
        """Return the value at ``unit`` in [0, 1]."""
        return self.values[min(int(unit * len(self.values)), len(self.values) - 1)]

    def nearest(self, value: Value) -> float:
        """Return the nearest allowed value."""
        return self.values[self.place(value)]

    def unit(self, value: Value) -> float:
        """Return the middle of the nearest value's part of [0, 1]."""
        return (self.place(value) + 0.5) / len(self.values)

    def wider(self, upper: bool, step: float, furthest: float, most: float = math.inf) -> Range:
        """Return the same range: nothing was recorded beyond it."""
        return self

    def place(self, value: Value) -> int:
        """Return the index of the nearest value."""
        number = max(float(value), self.low) if self.log else float(value)
        scale = math.log if self.log else float
        distances = [abs(scale(known) - scale(number)) for known in self.values]
        return distances.index(min(distances))


def levels(values: tuple[float, ...]) -> Levels:
    """Return an axis; it is logarithmic if its values are more evenly spaced that way."""
    return Levels(low=values[0], high=values[-1], log=_logarithmic(values), values=values)


def _logarithmic(values: tuple[float, ...]) -> bool:
    if values[0] <= 0:
        return False
    return _unevenness(tuple(map(math.log, values))) <= _unevenness(values)


def _unevenness(values: tuple[float, ...]) -> float:
    steps = [high - low for low, high in itertools.pairwise(values)]
    return statistics.pstdev(steps) / statistics.mean(steps) if steps else 0.0


@dataclass(frozen=True, kw_only=True)
class Grid(Space):
    """A space in which every setting is on a table's grid."""

    def setting(self, params: Params) -> Setting:
        """Return the nearest recorded setting."""
        near = {name: axis.nearest(params[name]) for name, axis in self.parameters.items()}
        return super().setting(near)

    def preset(self, hyper: Mapping[str, Any], warmup: float, origin: str) -> Candidate:
        """Return the nearest recorded setting, the same for every sampler."""
        known = super().preset(hyper, warmup, origin)
        return replace(known, setting=self.setting(known.setting.params))


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A table as the search uses it.

    Args:
        table: The recorded runs.
        optimizer: Registry name of what was run.
        space: The grid.
        presets: Settings to try first, moved to the grid; the first is the default.
    """

    table: Table
    optimizer: str
    space: Grid
    presets: tuple[Candidate, ...]

    def places(self, hyper: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the indices on the axes that are nearest to an optimizer's arguments."""
        coordinates = encode(hyper, 0.0)
        axes = self.space.parameters.items()
        return tuple(
            axis.place(coordinates[name]) for name, axis in axes if isinstance(axis, Levels)
        )

    def number(self, hyper: Mapping[str, Any]) -> int:
        """Return the number of the recorded setting nearest to an optimizer's arguments."""
        return self.table.number(self.places(hyper))

    @property
    def known(self) -> tuple[tuple[int, ...], ...]:
        """Return the indices of the settings to try first, without duplicates."""
        return tuple(dict.fromkeys(self.places(one.setting.hyper) for one in self.presets))

    @property
    def default(self) -> int:
        """Return the number of the optimizer's default."""
        return self.number(self.presets[0].setting.hyper)


def ground(table: Table) -> Ground:
    """Return a table's grid as a space; raises SpecError for an unknown parameter."""
    optimizer = table.optimizer or _optimizer(table.axes)
    if optimizer not in optimizers.names():
        raise UnknownName(f"{table.name}: {unknown('optimizer', optimizer, optimizers.names())}")
    defaults = optimizers.defaults(optimizer)
    axes = {RENAMED.get(name, name): levels(values) for name, values in table.axes.items()}
    takes = known(optimizers.space(optimizer), defaults) - {"timescale", "decayed", "warmup"}
    for name in axes:
        if name not in takes:
            raise SpecError(f"{table.name}: {unknown(f'parameter of {optimizer}', name, takes)}")
    space = Grid(parameters=axes, defaults=defaults, asked=frozenset(axes))
    return Ground(
        table=table,
        optimizer=optimizer,
        space=space,
        presets=tuple(presets_of(optimizer, space)),
    )


def _optimizer(axes: Mapping[str, object]) -> str:
    """Return the simplest optimizer that has all the parameters."""
    name = "adan" if "one_minus_beta3" in axes else "adamw"
    if "one_minus_momentum" in axes:
        name = "sgd"
    return name + "-win" if "reckless" in axes else name
