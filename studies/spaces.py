"""The ``space`` part of a spec: what a person fixes, narrows or chooses, checked by parameter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autotune.studies import names
from autotune.studies.errors import SpecError

# Coordinates of our own optimizers; a plugin's may have others, searched as its space says.
LOG = frozenset(
    {
        "lr",
        "timescale",
        "eps",
        "gamma1",
        "gamma_ratio",
        "one_minus_beta1",
        "one_minus_beta2",
        "one_minus_beta3",
        "one_minus_momentum",
    }
)
_NUMBERS = LOG | {"warmup", "max_grad_norm"}
_ENDS = ("low", "high")


def check(space: Mapping[str, Any], optimizers: Iterable[str]) -> dict[str, Any]:
    """Return the overrides with numbers as numbers; raises SpecError naming the dotted path."""
    known = set(optimizers)
    checked: dict[str, Any] = {}
    for key, value in space.items():
        path = f"space.{key}"
        if key in known:
            checked[key] = _parameters(path, value)
        elif isinstance(value, Mapping) and any(isinstance(v, Mapping) for v in value.values()):
            raise SpecError(
                f"{path}: '{key}' is not an optimizer of this search"
                f"{names.suggestion(key, known)} {names.listing(sorted(known))}"
            )
        else:
            checked[key] = _override(path, key, value)
    return checked


def _parameters(path: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecError(f"{path} must be a mapping of parameters, got {value!r}")
    return {str(key): _override(f"{path}.{key}", str(key), item) for key, item in value.items()}


def _override(path: str, name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return _range(path, name, value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _choices(path, name, value)
    return _fixed(path, name, value)


def _range(path: str, name: str, value: Mapping[str, Any]) -> dict[str, float]:
    for key in value:
        if key not in _ENDS:
            hint = names.suggestion(str(key), _ENDS) or " (known: low, high)"
            raise SpecError(f"unknown key '{path}.{key}'{hint}")
    if len(value) < len(_ENDS):
        given = f"{next(iter(value))} alone" if value else "neither"
        raise SpecError(f"{path} must have both low and high, got {given}")
    low, high = (_bound(f"{path}.{key}", name, value[key]) for key in _ENDS)
    if not low < high:
        raise SpecError(f"{path}: low must be below high, got low {low:g} and high {high:g}")
    return {"low": low, "high": high}


def _bound(path: str, name: str, value: Any) -> float:
    number = _plain(value)
    if not isinstance(number, float | int):
        raise SpecError(f"{path} must be a number, got {value!r}")
    return float(_possible(path, name, number))


def _choices(path: str, name: str, value: Sequence[Any]) -> list[float | int | str]:
    if not value:
        raise SpecError(f"{path} must have at least one choice, got []")
    choices = [_fixed(path, name, item) for item in value]
    for item in choices:
        if choices.count(item) > 1:
            raise SpecError(f"{path} must list each choice once, got {item!r} twice")
    return choices


def _fixed(path: str, name: str, value: Any) -> float | int | str:
    plain = _plain(value)
    if isinstance(plain, float | int):
        return _possible(path, name, plain)
    if not isinstance(plain, str) or name in _NUMBERS:
        rule = "must be a number, a list of choices or a range with low and high"
        raise SpecError(f"{path} {rule}, got {value!r}")
    return plain


def _plain(value: Any) -> Any:
    """Undo what YAML did: `1e-4` is text to it, and `off` is False."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _possible(path: str, name: str, number: float | int) -> float | int:
    if not math.isfinite(number):
        raise SpecError(f"{path} must be finite, got {number}")
    if name in LOG and number <= 0:
        raise SpecError(f"{path} must be positive, got {number:g}")
    if name.startswith("one_minus_") and number > 1:
        raise SpecError(f"{path} must be at most 1, got {number:g}")
    if name == "warmup" and not 0 <= number < 1:
        raise SpecError(f"{path} must be a fraction in [0, 1), got {number:g}")
    return number
