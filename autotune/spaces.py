"""The settings a search may try: coordinates, and the way from them to an optimizer's arguments.

Coordinates are chosen so that each acts alone: weight decay is searched as the timescale
1/(lr * weight_decay) in steps, decays near one by their distance from one, and Win's second
reckless step by its ratio to the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autotune.errors import SpecError, UnknownName
from autotune.registry import unknown
from autotune.setting import Setting

DEFAULT_WARMUP = 0.1
EDGE = 0.02  # of a range: closer to its end counts as at the boundary

Value = float | str
Params = Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers between two bounds, spread evenly or evenly in the logarithm."""

    low: float
    high: float
    log: bool = False

    def at(self, unit: float) -> float:
        """Return the value at ``unit`` in [0, 1]."""
        if not self.log:
            return self.low + unit * (self.high - self.low)
        value = math.exp(math.log(self.low) + unit * math.log(self.high / self.low))
        return min(max(value, self.low), self.high)

    def unit(self, value: Value) -> float:
        """Return where ``value`` lies, clipped to [0, 1]."""
        number = min(max(float(value), self.low), self.high)
        if self.low == self.high:
            return 0.5
        if self.log:
            return math.log(number / self.low) / math.log(self.high / self.low)
        return (number - self.low) / (self.high - self.low)

    def as_data(self) -> list[Any]:
        """Return the range as plain data."""
        return ["log" if self.log else "linear", self.low, self.high]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of several options."""

    options: tuple[Value, ...]

    def at(self, unit: float) -> Value:
        """Return the option at ``unit`` in [0, 1]."""
        return self.options[min(int(unit * len(self.options)), len(self.options) - 1)]

    def unit(self, value: Value) -> float:
        """Return the middle of the option's share; an unknown option counts as the first."""
        index = self.options.index(value) if value in self.options else 0
        return (index + 0.5) / len(self.options)

    def as_data(self) -> list[Any]:
        """Return the options as plain data."""
        return ["choice", list(self.options)]


Parameter = Range | Choice


@dataclass(frozen=True, kw_only=True)
class Space:
    """Parameters to search, values held fixed, and the arguments of the optimizer's default."""

    parameters: Mapping[str, Parameter]
    defaults: Mapping[str, Any]
    fixed: Mapping[str, Value] = field(default_factory=dict)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the searched parameters."""
        return iter(self.parameters)

    def __len__(self) -> int:
        """Return how many parameters are searched."""
        return len(self.parameters)

    def at(self, units: Sequence[float]) -> dict[str, Value]:
        """Return the coordinates of a point of the unit cube."""
        pairs = zip(self.parameters.items(), units, strict=True)
        return {name: parameter.at(unit) for (name, parameter), unit in pairs}

    def units(self, params: Params) -> list[float]:
        """Return a point's place in the unit cube."""
        return [parameter.unit(params[name]) for name, parameter in self.parameters.items()]

    def setting(self, params: Params, origin: str) -> Setting:
        """Return the setting at ``params``."""
        hyper, warmup = decode({**self.fixed, **params}, self.defaults)
        return Setting(origin=origin, params=dict(params), hyper=hyper, warmup=warmup)

    def preset(self, hyper: Mapping[str, Any], warmup: float, origin: str) -> Setting:
        """Return a known setting, kept exact where the space does not forbid it.

        A value outside a range is moved to its end; fixed values win over the preset's.
        """
        full = {**self.defaults, **hyper}
        coordinates = encode(full, warmup)
        params = {
            name: parameter.at(parameter.unit(coordinates[name]))
            if name in coordinates
            else parameter.at(0.5)
            for name, parameter in self.parameters.items()
        }
        moved = any(
            name in coordinates and not _holds(parameter, coordinates[name])
            for name, parameter in self.parameters.items()
        )
        if moved or self.fixed:
            return self.setting({**params}, origin)
        return Setting(origin=origin, params=params, hyper=full, warmup=warmup)

    def edges(self, params: Params) -> list[str]:
        """Return the searched ranges at whose end ``params`` lies."""
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


def _holds(parameter: Parameter, value: Value) -> bool:
    if isinstance(parameter, Choice):
        return value in parameter.options
    return parameter.low <= float(value) <= parameter.high


def decode(params: Params, defaults: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
    """Return an optimizer's keyword arguments and the warm-up fraction at ``params``."""
    rest = dict(params)
    hyper = dict(defaults)
    warmup = float(rest.pop("warmup", DEFAULT_WARMUP))
    hyper["lr"] = float(rest.pop("lr", hyper["lr"]))
    _decode_decay(rest, hyper)
    if "betas" in hyper:
        old = enumerate(hyper["betas"], 1)
        hyper["betas"] = tuple(_kept(rest, f"one_minus_beta{i}", beta) for i, beta in old)
    if "momentum" in hyper:
        hyper["momentum"] = _kept(rest, "one_minus_momentum", hyper["momentum"])
    if "reckless_steps" in hyper:
        first, second = hyper["reckless_steps"]
        gamma = float(rest.pop("gamma1", first))
        hyper["reckless_steps"] = (gamma, gamma * float(rest.pop("gamma_ratio", second / first)))
    return hyper | rest, warmup


def _kept(rest: dict[str, Value], name: str, beta: float) -> float:
    """Return one minus the coordinate; an untouched beta keeps every bit."""
    return 1 - float(rest.pop(name)) if name in rest else beta


def _decode_decay(rest: dict[str, Value], hyper: dict[str, Any]) -> None:
    decayed = rest.pop("decayed", "yes")
    timescale = rest.pop("timescale", None)
    if "weight_decay" in rest:
        hyper["weight_decay"] = float(rest.pop("weight_decay"))
    elif decayed == "no":
        hyper["weight_decay"] = 0.0
    elif timescale is not None:
        hyper["weight_decay"] = 1 / (hyper["lr"] * float(timescale))


def encode(hyper: Mapping[str, Any], warmup: float) -> dict[str, Value]:
    """Return the coordinates of an optimizer's arguments: the inverse of ``decode``."""
    lr, decay = float(hyper["lr"]), float(hyper.get("weight_decay", 0.0))
    params: dict[str, Value] = {"warmup": warmup, "lr": lr, "weight_decay": decay}
    params["decayed"] = "yes" if decay else "no"
    if lr and decay:
        params["timescale"] = 1 / (lr * decay)
    for i, beta in enumerate(hyper.get("betas", ()), 1):
        params[f"one_minus_beta{i}"] = 1 - beta
    if "momentum" in hyper:
        params["one_minus_momentum"] = 1 - hyper["momentum"]
    if "reckless_steps" in hyper:
        first, second = hyper["reckless_steps"]
        params |= {"gamma1": first, "gamma_ratio": second / first}
    known = {"lr", "weight_decay", "betas", "momentum", "reckless_steps"}
    return params | {name: value for name, value in hyper.items() if name not in known}


def build(
    data: Mapping[str, Sequence[Any]], defaults: Mapping[str, Any], overrides: Mapping[str, Any]
) -> Space:
    """Return an optimizer's space with a person's ``overrides``.

    Args:
        data: The optimizer's own space as plain data.
        defaults: Keyword arguments of its default.
        overrides: By parameter: ``{"low": a, "high": b}``, a list of options or one fixed value.
    """
    parameters = {name: _parameter(entry) for name, entry in data.items()}
    fixed: dict[str, Value] = {}
    allowed = {*parameters, *defaults, *encode(defaults, DEFAULT_WARMUP), "timescale"}
    for name, override in overrides.items():
        if name not in allowed:
            raise UnknownName(unknown("parameter", name, allowed - {"betas", "reckless_steps"}))
        _override(parameters, fixed, name, override)
    if "weight_decay" in {*parameters, *fixed} and "weight_decay" in overrides:
        for name in ("timescale", "decayed"):
            parameters.pop(name, None)
    return Space(parameters=parameters, defaults=defaults, fixed=fixed)


def _override(
    parameters: dict[str, Parameter], fixed: dict[str, Value], name: str, override: Any
) -> None:
    old = parameters.pop(name, None)
    if isinstance(override, Mapping):
        parameters[name] = _range(name, override, old)
    elif isinstance(override, Sequence) and not isinstance(override, str):
        parameters[name] = Choice(options=tuple(override))
    else:
        fixed[name] = override


def _range(name: str, override: Mapping[str, Any], old: Parameter | None) -> Range:
    known = old if isinstance(old, Range) else None
    low = override.get("low", known.low if known else None)
    high = override.get("high", known.high if known else None)
    if low is None or high is None:
        raise SpecError(f"space.{name} needs low and high, got only {sorted(override)}")
    if not low < high:
        raise SpecError(f"space.{name}: low must be below high, got low {low} and high {high}")
    scale = override.get("scale", "log" if (known.log if known else low > 0) else "linear")
    if scale == "log" and low <= 0:
        raise SpecError(f"space.{name}: a log scale needs low above 0, got {low}")
    return Range(low=float(low), high=float(high), log=scale == "log")


def _parameter(entry: Sequence[Any]) -> Parameter:
    if entry[0] == "choice":
        return Choice(options=tuple(entry[1]))
    return Range(low=float(entry[1]), high=float(entry[2]), log=entry[0] == "log")


def from_data(data: Mapping[str, Sequence[Any]], defaults: Mapping[str, Any]) -> Space:
    """Return a stored space: the inverse of ``Space.as_data``."""
    searched = {name: entry for name, entry in data.items() if entry[0] != "fixed"}
    fixed = {name: entry[1] for name, entry in data.items() if entry[0] == "fixed"}
    parameters = {name: _parameter(entry) for name, entry in searched.items()}
    return Space(parameters=parameters, defaults=defaults, fixed=fixed)
