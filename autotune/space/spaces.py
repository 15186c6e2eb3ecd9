"""Search spaces: ranges and choices of coordinates, and what a user's spec changes of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autotune.errors import SpecError, UnknownName
from autotune.optimizers import options
from autotune.optimizers.controllers import KEY, NONE
from autotune.registry import unknown
from autotune.space.coordinates import DEFAULT_WARMUP, Params, Value, decode, encode, told
from autotune.studies.setting import Setting

EDGE = 0.02  # part of a range that counts as its end
MOVED = ", moved into the space"  # suffix of the origin of a setting that the user's space changed
_SWITCH = ("yes", "no")
_WHOLES = {
    "betas": "one_minus_beta",
    "momentum": "one_minus_momentum",
    "reckless_steps": "gamma",
    **{name: options.coordinate(name) for name in options.DECAYS},
}


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers between two bounds, on a linear or logarithmic scale."""

    low: float
    high: float
    log: bool = False
    began: tuple[float, float] | None = None  # its bounds before it was widened

    def at(self, unit: float) -> float:
        """Return the value at ``unit`` in [0, 1]."""
        if not self.log:
            return self.low + unit * (self.high - self.low)
        value = math.exp(math.log(self.low) + unit * math.log(self.high / self.low))
        return min(max(value, self.low), self.high)

    def nearest(self, value: Value) -> float:
        """Return ``value`` clipped to the range."""
        return min(max(float(value), self.low), self.high)

    def unit(self, value: Value) -> float:
        """Return the position of ``value`` in the range, clipped to [0, 1]."""
        number = self.nearest(value)
        if self.low == self.high:
            return 0.5
        if self.log:
            return math.log(number / self.low) / math.log(self.high / self.low)
        return (number - self.low) / (self.high - self.low)

    @property
    def first(self) -> Range:
        """The range as it was before it was widened."""
        if self.began is None:
            return self
        return Range(low=self.began[0], high=self.began[1], log=self.log)

    def wider(self, upper: bool, step: float, furthest: float, most: float = math.inf) -> Range:
        """Return a logarithmic range with one end moved; distances are parts of the first width.

        Args:
            upper: Move the upper end, else the lower one.
            step: How far to move it.
            furthest: Largest distance from its first place.
            most: Largest value allowed.
        """
        low, high = self.began or (self.low, self.high)
        reach = (high / low) ** step
        limit = (high / low) ** furthest
        if upper:
            high = min(self.high * reach, high * limit, most)
            low = self.low
        else:
            low, high = max(self.low / reach, low / limit), self.high
        if (low, high) == (self.low, self.high):
            return self
        return Range(low=low, high=high, log=True, began=self.began or (self.low, self.high))

    def as_data(self) -> list[Any]:
        """Return the range as plain data; its first bounds come last."""
        return ["log" if self.log else "linear", self.low, self.high, *(self.began or ())]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of several options."""

    options: tuple[Value, ...]

    def at(self, unit: float) -> Value:
        """Return the option at ``unit`` in [0, 1]."""
        return self.options[min(int(unit * len(self.options)), len(self.options) - 1)]

    def nearest(self, value: Value) -> Value:
        """Return ``value`` if it is an option, else the first option."""
        return value if value in self.options else self.options[0]

    def unit(self, value: Value) -> float:
        """Return the middle of an option's part of [0, 1]; an unknown one counts as the first."""
        return (self.options.index(self.nearest(value)) + 0.5) / len(self.options)

    def as_data(self) -> list[Any]:
        """Return the options as plain data."""
        return ["choice", list(self.options)]


Parameter = Range | Choice


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A setting that may be tried, and what proposed it."""

    origin: str
    setting: Setting


@dataclass(frozen=True, kw_only=True)
class Space:
    """The space of an optimizer's settings.

    Args:
        parameters: Parameters to search.
        defaults: The optimizer's default arguments.
        fixed: Parameters with a fixed value.
        asked: Parameters that the user set: only these change a preset.
        published: Settings that authors published for the network, in an optimizer's words.
    """

    parameters: Mapping[str, Parameter]
    defaults: Mapping[str, Any]
    fixed: Mapping[str, Value] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()
    published: Sequence[Mapping[str, Any]] = ()

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the searched parameters."""
        return iter(self.parameters)

    def __len__(self) -> int:
        """Return how many parameters are searched."""
        return len(self.parameters)

    @property
    def points(self) -> float:
        """Return the number of settings; infinite if a range is searched."""
        parameters = self.parameters.values()
        return math.prod(len(p.options) if isinstance(p, Choice) else math.inf for p in parameters)

    def at(self, units: Sequence[float]) -> dict[str, Value]:
        """Return the coordinates at a point of the unit cube."""
        pairs = zip(self.parameters.items(), units, strict=True)
        return {name: parameter.at(unit) for (name, parameter), unit in pairs}

    def units(self, params: Params) -> list[float]:
        """Return the point of the unit cube at these coordinates."""
        return [parameter.unit(params[name]) for name, parameter in self.parameters.items()]

    def setting(self, params: Params) -> Setting:
        """Return the setting at ``params``."""
        hyper, warmup = decode({**self.fixed, **params}, self.defaults)
        return Setting(params=dict(params), hyper=hyper, warmup=warmup)

    def preset(self, hyper: Mapping[str, Any], warmup: float, origin: str) -> Candidate:
        """Return a known setting, changed only where the user's space forbids it.

        A value outside a range is moved to its end; fixed values replace the preset's. Weight decay
        stays when lr moves, even if its timescale is then outside the space.
        """
        given = told({**self.defaults, **hyper})
        changes = self._changes(given, warmup)
        full, warm = decode({"warmup": warmup, **changes}, given)
        moved = MOVED if (full, warm) != (given, warmup) else ""
        coordinates = {**encode(full, warm), **changes}
        params = {
            name: parameter.nearest(coordinates[name]) if name in coordinates else parameter.at(0.5)
            for name, parameter in self.parameters.items()
        }
        setting = Setting(params=params, hyper=full, warmup=warm)
        return Candidate(origin=origin + moved, setting=setting)

    def moved(self, hyper: Mapping[str, Any], warmup: float) -> dict[str, Value]:
        """Return the coordinates of a setting that the user's space forbids, with new values."""
        return self._changes(told({**self.defaults, **hyper}), warmup)

    def _changes(self, hyper: Mapping[str, Any], warmup: float) -> dict[str, Value]:
        """Return the coordinates that must change to satisfy the user's space."""
        lr = self._asked("lr", hyper["lr"])
        old: dict[str, Any] = dict.fromkeys(self.fixed)
        old |= {"timescale": math.inf, **encode({**hyper, "lr": lr}, warmup), "lr": hyper["lr"]}
        new = {name: self._asked(name, value) for name, value in old.items()}
        decayed = new.get("decayed")
        if decayed == "no" and "decayed" in {*self.parameters, *self.fixed}:
            new.pop("timescale")
        elif decayed != old.get("decayed") and "timescale" in self.parameters:
            new["timescale"] = self.parameters["timescale"].nearest(old["timescale"])
        return {name: value for name, value in new.items() if not same(value, old[name])}

    def _asked(self, name: str, value: Value) -> Value:
        if name in self.fixed:
            return self.fixed[name]
        if name in self.asked and name in self.parameters:
            return self.parameters[name].nearest(value)
        return value

    def edges(self, params: Params) -> list[str]:
        """Return the names of the ranges at whose end ``params`` lies."""
        found = []
        for name, parameter in self.parameters.items():
            if isinstance(parameter, Range) and name in params:
                unit = parameter.unit(params[name])
                if min(unit, 1 - unit) < EDGE:
                    found.append(name)
        return found

    def as_data(self) -> dict[str, Any]:
        """Return the space as plain data."""
        data = {name: parameter.as_data() for name, parameter in self.parameters.items()}
        return data | {name: ["fixed", value] for name, value in self.fixed.items()}


def same(one: Any, other: Any) -> bool:
    """Return whether values agree up to the rounding of 1 - beta or 1 / (lr * decay)."""
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other)
    return bool(one == other)


def known(data: Mapping[str, Sequence[Any]], defaults: Mapping[str, Any]) -> set[str]:
    """Return the names that the user may set for an optimizer."""
    timescale = ("timescale",) if "weight_decay" in defaults else ()
    return {*data, *encode(defaults, DEFAULT_WARMUP), *timescale}


def build(
    data: Mapping[str, Sequence[Any]], defaults: Mapping[str, Any], overrides: Mapping[str, Any]
) -> Space:
    """Return an optimizer's space with the user's ``overrides``.

    Args:
        data: The optimizer's own space as plain data.
        defaults: Its default keyword arguments.
        overrides: By parameter: ``{"low": a, "high": b, "scale": "log" | "linear"}`` (missing keys
            keep the optimizer's own values), a list of options, or one fixed value.
    """
    parameters = {name: _parameter(entry) for name, entry in data.items()}
    fixed: dict[str, Value] = {}
    for name, override in overrides.items():
        _check_name(name, data, defaults)
        _override(parameters, fixed, name, override)
    if "weight_decay" in overrides:
        for name in ("timescale", "decayed"):
            parameters.pop(name, None)
            fixed.pop(name, None)
    asked = frozenset(overrides)
    return Space(parameters=parameters, defaults=told(defaults), fixed=fixed, asked=asked)


def _check_name(name: str, data: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    names = known(data, defaults)
    if name in names:
        return
    if name not in defaults:
        raise UnknownName(unknown("parameter", name, names))
    parts = sorted(f"space.{part}" for part in names if part.startswith(_WHOLES[name]))
    how = " as one" if len(parts) > 1 else ""
    raise SpecError(f"space.{name} cannot be set{how}; use {', '.join(parts)}")


def _override(
    parameters: dict[str, Parameter], fixed: dict[str, Value], name: str, override: Any
) -> None:
    old = parameters.pop(name, None)
    if name == "decayed" or (isinstance(old, Choice) and set(old.options) == set(_SWITCH)):
        override = _switched(name, override)
    if isinstance(override, Mapping):
        parameters[name] = _range(name, override, old)
    elif _several(override):
        parameters[name] = Choice(options=tuple(override))
    else:
        fixed[name] = override


def _several(override: Any) -> bool:
    return isinstance(override, Sequence) and not isinstance(override, str)


def _switched(name: str, override: Any) -> Any:
    """Return "yes" or "no", which YAML reads as true and false."""
    if _several(override):
        return [_switched(name, option) for option in override]
    word = ("yes" if override else "no") if isinstance(override, bool) else override
    if word not in _SWITCH:
        raise SpecError(f"space.{name} must be yes or no, got {override!r}")
    return word


def _range(name: str, override: Mapping[str, Any], old: Parameter | None) -> Range:
    own = {"low": old.low, "high": old.high} if isinstance(old, Range) else {}
    ends = {**own, **{key: override[key] for key in ("low", "high") if key in override}}
    if len(ends) < 2:
        given = " and ".join(override)
        raise SpecError(f"space.{name} must have both low and high, got only {given}")
    low, high = float(ends["low"]), float(ends["high"])
    if not low < high:
        raise SpecError(_empty(name, override, low, high))
    log = old.log if isinstance(old, Range) else low > 0
    if "scale" in override:
        log = override["scale"] == "log"
    if log and low <= 0:
        raise SpecError(f"space.{name}: a log scale needs low above 0, got {low:g}")
    return Range(low=low, high=high, log=log)


def _empty(name: str, override: Mapping[str, Any], low: float, high: float) -> str:
    """Return the error for an empty range; one end may be the optimizer's own."""
    own = next((key for key in ("low", "high") if key not in override), None)
    hint = "" if own is None else f", of which {own} is the optimizer's own; give both"
    return f"space.{name}: low must be below high, got low {low:g} and high {high:g}{hint}"


def _parameter(entry: Sequence[Any]) -> Parameter:
    if entry[0] == "choice":
        return Choice(options=tuple(entry[1]))
    began = (float(entry[3]), float(entry[4])) if len(entry) > 3 else None
    return Range(low=float(entry[1]), high=float(entry[2]), log=entry[0] == "log", began=began)


def idle(name: str, params: Params) -> bool:
    """Return whether a coordinate has no effect: without decay there is no timescale.

    Nor has what a controller or an option reads that is off.
    """
    if name == "timescale":
        return params.get("decayed") == "no"
    if name.startswith(f"{KEY}_"):
        return params.get(KEY) == NONE
    return options.idle(name, params)


def from_data(data: Mapping[str, Sequence[Any]], defaults: Mapping[str, Any]) -> Space:
    """Return a stored space: the inverse of ``Space.as_data``."""
    searched = {name: entry for name, entry in data.items() if entry[0] != "fixed"}
    fixed = {name: entry[1] for name, entry in data.items() if entry[0] == "fixed"}
    parameters = {name: _parameter(entry) for name, entry in searched.items()}
    return Space(parameters=parameters, defaults=told(defaults), fixed=fixed)
