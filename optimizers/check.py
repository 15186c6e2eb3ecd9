"""Checks of hyper-parameters; an error tells the name, the rule and the value given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# Names in the authors' code and torch, with what to write instead; a group would ignore them.
_THEIRS = {
    "no_prox": "write decay='decoupled' for no_prox=True",
    "acceleration_mode": "write acceleration instead",
    "maximize": "negate the loss",
}


def number(name: str, value: Any) -> float:
    """Return a number, or a tensor that holds one, as a float."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None


def plain(value: Any) -> Any:
    """Return a tensor of one number as a float, also inside a tuple."""
    if isinstance(value, tuple | list):
        return tuple([plain(item) for item in value])
    return float(value) if isinstance(value, Tensor) else value


def at_least_zero(name: str, value: Any) -> None:
    """Refuse a value that is negative, infinite or NaN."""
    given = number(name, value)
    if not (math.isfinite(given) and given >= 0.0):
        raise ValueError(f"{name} must be at least 0 and finite, got {given:g}")


def fraction(name: str, value: Any) -> None:
    """Refuse a value outside [0, 1)."""
    given = number(name, value)
    if not 0.0 <= given < 1.0:
        raise ValueError(f"{name} must be in [0, 1), got {given:g}")


def _sequence(name: str, value: Any, count: int) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != count:
        raise ValueError(f"{name} must be {count} numbers, got {value!r}")
    return value


def betas(value: Any, count: int) -> None:
    """Refuse betas that are too few, too many or out of range."""
    for i, beta in enumerate(_sequence("betas", value, count)):
        fraction(f"betas[{i}]", beta)


def reckless_steps(value: Any) -> None:
    """Refuse ratios of Win's steps that are not above 0: it would freeze or divide by 0."""
    for i, gamma in enumerate(_sequence("reckless_steps", value, 2)):
        given = number(f"reckless_steps[{i}]", gamma)
        if not (math.isfinite(given) and given > 0.0):
            raise ValueError(f"reckless_steps[{i}] must be above 0 and finite, got {given:g}")


def state_dtype(value: Any) -> None:
    """Refuse a dtype that averages cannot be kept in."""
    if value not in (None, torch.float32, torch.bfloat16):
        raise ValueError(
            f"state_dtype must be None, torch.float32 or torch.bfloat16, got {value!r}"
        )


def one_of(name: str, value: Any, known: Sequence[str]) -> None:
    """Refuse a value that is not among the known ones."""
    if value not in known:
        quoted = [repr(word) for word in known]
        raise ValueError(f"{name} must be {', '.join(quoted[:-1])} or {quoted[-1]}, got {value!r}")


def group_keys(group: Mapping[str, Any]) -> None:
    """Reject group keys that this optimizer would ignore."""
    for name, way in _THEIRS.items():
        if group.get(name):
            raise ValueError(f"a group cannot set '{name}', got {group[name]!r}; {way}")
