"""What one parameter's axis needs: its scale, its bounds and its choices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune.app import words
from autotune.studies.records import TrialRecord

Value = float | str
RANGES = ("log", "linear")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A searched parameter; ``choices`` is empty for a number."""

    name: str
    log: bool = False
    low: float = 0.0
    high: float = 1.0
    choices: tuple[str, ...] = ()

    def place(self, item: Value) -> float:
        """Return where a value stands on a linear axis: the exponent, or the choice's index."""
        if self.choices:
            return float(self.choices.index(str(item)))
        return math.log10(float(item)) if self.log else float(item)

    def ticks(self) -> list[float]:
        """Return round values for a logarithmic axis: powers of ten, or 1-2-5 steps if few fit."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        tens = [10.0**exponent for exponent in range(first, last + 1)]
        fine = [factor * ten for ten in tens for factor in (1, 2, 5)]
        inside = [ten for ten in tens if self.low <= ten <= self.high]
        return inside if len(inside) > 2 else [f for f in fine if self.low <= f <= self.high]


def scale(axis: Axis) -> dict[str, Any]:
    """Return how an axis of a chart is laid out: the whole space, also where nothing was tried.

    Plotly would write 0.0001 as 100µ.
    """
    if axis.choices:
        return {"type": "category", "categoryarray": axis.choices}
    low, high = axis.place(axis.low), axis.place(axis.high)
    room = 0.05 * (high - low)
    bounds = [low - room, high + room]
    if not axis.log:
        return {"type": "linear", "range": bounds}
    ticks = axis.ticks()
    texts = [words.tick(tick) for tick in ticks]
    return {"type": "log", "range": bounds, "tickvals": ticks, "ticktext": texts}


def value(trial: TrialRecord, name: str) -> Value | None:
    """Return a coordinate; None where it has no effect, as the timescale without decay."""
    params = trial.setting.params
    if name == "timescale" and params.get("decayed") == "no":
        return None
    return params.get(name)


def axes(space: Mapping[str, Any], trials: Sequence[TrialRecord]) -> list[Axis]:
    """Return an axis for every parameter of the space that took more than one value."""
    settings = [trial.setting for trial in trials]
    named = list(dict.fromkeys([*space, *(name for one in settings for name in one.params)]))
    pairs = {name: [value(trial, name) for trial in trials] for name in named}
    seen = {name: [item for item in items if item is not None] for name, items in pairs.items()}
    return [_axis(name, space.get(name), seen[name]) for name in named if len(set(seen[name])) > 1]


def _axis(name: str, domain: Any, seen: Sequence[Value]) -> Axis:
    kind, *bounds = domain if isinstance(domain, (list, tuple)) else ("linear",)
    if kind == "choice" or any(isinstance(item, str) for item in seen):
        options = bounds[0] if kind == "choice" and bounds else ()
        return Axis(name=name, choices=tuple(dict.fromkeys(map(str, [*options, *sorted(seen)]))))
    # A preset may lie outside of the space: it is drawn all the same.
    numbers = [float(item) for item in [*(bounds if kind in RANGES else ()), *seen]]
    low, high = min(numbers), max(numbers)
    return Axis(name=name, log=kind == "log" and low > 0, low=low, high=high)
