"""The ``space`` part of a spec: what a person fixes, narrows or chooses, checked by parameter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autotune.studies import names
from autotune.studies.errors import SpecError

# Coordinates of our own optimizers; a plugin's may have others, searched as its space says.
_LOG = frozenset(
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
_AT_LEAST_ZERO = ("max_grad_norm", "weight_decay")
_NUMBERS = _LOG | {"warmup", *_AT_LEAST_ZERO}
_ENDS = ("low", "high")
_SCALES = ("log", "linear")


def check(space: Mapping[str, Any], optimizers: Iterable[str]) -> dict[str, Any]:
    """Return the overrides with numbers as numbers; raises SpecError naming the dotted path."""
    known = set(optimizers)
    checked: dict[str, Any] = {}
    for key, value in _whole_names(space, known).items():
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


def _whole_names(space: Mapping[str, Any], optimizers: Iterable[str]) -> dict[str, Any]:
    """Return the overrides with what is nested by the dots of an optimizer's name under the name.

    So has ``--set space.torch.optim.RMSprop.lr=1e-3`` nested it.
    """
    found = dict(space)
    for name in sorted(optimizers):
        if "." in name and (own := _taken(found, name.split("."))) is not None:
            found[name] = _merged(found.get(name, {}), own)
    return found


def _taken(space: dict[str, Any], path: Sequence[str]) -> Any:
    """Take what is nested at a path out of ``space``, with what is empty then; None if nothing."""
    head, *rest = path
    inner = space.get(head)
    if not rest:
        return space.pop(head, None)
    if not isinstance(inner, Mapping):
        return None
    space[head] = copy = dict(inner)
    own = _taken(copy, rest)
    if not copy:
        del space[head]
    return own


def _merged(one: Any, other: Any) -> Any:
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return other
    return {**one, **{key: _merged(one.get(key), value) for key, value in other.items()}}


def _parameters(path: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecError(f"{path} must be a mapping of parameters, got {value!r}")
    return {str(key): _override(f"{path}.{key}", str(key), item) for key, item in value.items()}


def _override(path: str, name: str, value: Any) -> Any:
    value = _listed(value)
    if isinstance(value, Mapping):
        return _range(path, name, value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _choices(path, name, value)
    return _fixed(path, name, value)


def _range(path: str, name: str, value: Mapping[str, Any]) -> dict[str, float | str]:
    """Check what is given; an optimizer's own space has what is left out."""
    for key in value:
        if key not in (*_ENDS, "scale"):
            hint = names.suggestion(str(key), (*_ENDS, "scale")) or " (known: low, high, scale)"
            raise SpecError(f"unknown key '{path}.{key}'{hint}")
    if not value:
        raise SpecError(f"{path} must have low, high or scale, got none of them")
    ends = {key: _bound(f"{path}.{key}", name, value[key]) for key in _ENDS if key in value}
    low, high = ends.get("low", -math.inf), ends.get("high", math.inf)
    if not low < high:
        raise SpecError(f"{path}: low must be below high, got low {low:g} and high {high:g}")
    if "scale" not in value:
        return {**ends}
    return {**ends, "scale": _scale(f"{path}.scale", value["scale"])}


def _scale(path: str, value: Any) -> str:
    if value not in _SCALES:
        raise SpecError(f"{path} must be log or linear, got {value!r}")
    return str(value)


def _bound(path: str, name: str, value: Any) -> float:
    number = _plain(value)
    if not _is_number(number):
        raise SpecError(f"{path} must be a number, got {value!r}")
    return float(_possible(path, name, number))


def _choices(path: str, name: str, value: Sequence[Any]) -> list[float | str]:
    if not value:
        raise SpecError(f"{path} must have at least one choice, got []")
    choices = [_fixed(path, name, item) for item in value]
    for item in choices:
        if choices.count(item) > 1:
            raise SpecError(f"{path} must list each choice once, got {item!r} twice")
    return choices


def _fixed(path: str, name: str, value: Any) -> float | str:
    plain = _plain(value)
    if _is_number(plain):
        return _possible(path, name, plain)
    if not isinstance(plain, str | bool) or name in _NUMBERS:
        rule = "must be a number, a list of choices or a range with low and high"
        raise SpecError(f"{path} {rule}, got {value!r}")
    return plain


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


def _listed(value: Any) -> Any:
    """Return an array or a tensor as the list or the number that it holds."""
    return value.tolist() if hasattr(value, "tolist") else value


def _plain(value: Any) -> Any:
    """Read the numbers that are text to YAML, such as `1e-4`, and NumPy's."""
    value = _listed(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _possible(path: str, name: str, number: float) -> float:
    if not math.isfinite(number):
        raise SpecError(f"{path} must be finite, got {number}")
    if name in _LOG and number <= 0:
        raise SpecError(f"{path} must be positive, got {number:g}")
    if name in _AT_LEAST_ZERO and number < 0:
        raise SpecError(f"{path} must be at least 0, got {number:g}")
    if name.startswith("one_minus_") and number > 1:
        raise SpecError(f"{path} must be at most 1, got {number:g}")
    if name == "warmup" and not 0 <= number < 1:
        raise SpecError(f"{path} must be a fraction in [0, 1), got {number:g}")
    return number
