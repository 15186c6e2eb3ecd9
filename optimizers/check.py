"""Checks of hyper-parameters; an error tells the name, the rule and the value given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Names in the authors' code and torch, with what to write instead; a group would ignore them.
_THEIRS = {
    "no_prox": "write decay='decoupled' for no_prox=True",
    "acceleration_mode": "write acceleration instead",
    "maximize": "negate the loss",
}
_UNKNOWN = {
    **_THEIRS,
    "fused": "leave it out: backend='auto' takes the fastest that runs here",
    "foreach": "leave it out: all tensors are stepped together",
    "differentiable": "leave it out: steps are not differentiated",
}


_ONE_POINT = ("none", "nesterov-ema")  # accelerations under which one point decays
# LinearLR to 0 ends this close below it, by rounding.
_ROUNDING = 1e-12


def plain(value: Any) -> Any:
    """Return a value as Python's own number, word or tuple; a tensor of one number stays one.

    What is none of these is returned as it is, for a check to refuse.
    """
    kind = type(value)
    if kind is float:
        return value + 0.0  # -0.0 becomes 0.0
    if kind in (int, bool, str) or value is None or isinstance(value, bytes | bytearray):
        return value
    if isinstance(value, Tensor):
        return value if value.numel() == 1 or value.ndim != 1 else tuple(value.tolist())
    return _plain(value)


def saved(value: Any, own: bool) -> Any:
    """Return a value as checkpoints have it: plain, so that ``torch.load`` takes it.

    Of others' values, as what a scheduler or timm puts into a group, only NumPy's are changed.
    """
    return plain(value) if own or isinstance(value, np.generic) else value


def _plain(value: Any) -> Any:
    """Return a value of a type that is not Python's own as one that is."""
    if isinstance(value, str):
        return str.__str__(value)  # an Enum's own would name its class
    for own in (int, float):
        if isinstance(value, own):
            return plain(own(value))
    if isinstance(value, np.ndarray | np.generic):
        return _of_numpy(value)
    if _ordered(value):
        return tuple([plain(item) for item in value])
    return _as_float(value)


def _of_numpy(value: Any) -> Any:
    if value.ndim:
        return tuple([plain(item) for item in value])
    item = value.item()
    return _as_float(item) if isinstance(item, np.generic) else plain(item)  # np.longdouble


def _ordered(value: Any) -> bool:
    """Whether a value is a list of some kind: OmegaConf's is no ``Sequence``."""
    if isinstance(value, type) or hasattr(value, "keys"):
        return False
    listed = hasattr(value, "__len__") and hasattr(value, "__getitem__")
    return listed and bool(getattr(value, "ndim", 1))


def _as_float(value: Any) -> Any:
    """Return a number of another kind, as Decimal or jax's, as a float."""
    if not hasattr(value, "__float__") or _truth(value):
        return value
    with suppress(TypeError, ValueError, OverflowError, RuntimeError):
        return plain(float(value))
    return value


def _truth(value: Any) -> bool:
    return isinstance(value, bool) or "bool" in str(getattr(value, "dtype", ""))


def number(name: str, value: Any) -> float:
    """Return a number, or a tensor that holds one, as a float."""
    if type(value) is float:  # schedules may bring one for every step
        return value
    if _truth(value) or isinstance(value, str | bytes | bytearray | tuple | list | np.ndarray):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None


def read(value: Any) -> Any:
    """Return a tensor of one number as a float, also inside a tuple."""
    if isinstance(value, tuple):
        return tuple([read(item) for item in value])
    return float(value) if isinstance(value, Tensor) else value


def holds_tensor(value: Any) -> bool:
    """Whether a value is a tensor, or a tuple of which one is."""
    if type(value) is tuple:
        return any(isinstance(each, Tensor) for each in value)
    return isinstance(value, Tensor)


def switch(name: str, value: Any) -> None:
    """Refuse what is neither True nor False; 0 and 1 are taken for them."""
    if value is not True and value is not False and not _is_bit(value):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def _is_bit(value: Any) -> bool:
    return type(value) is int and value in (0, 1)


def count(name: str, value: Any) -> int:
    """Return a number of steps as an int; a tensor may hold it."""
    if isinstance(value, Tensor | np.ndarray) and math.prod(value.shape) == 1:
        value = value.item()
    given = number(name, value)
    if not (given >= 0.0 and given.is_integer()):
        raise ValueError(f"{name} must be a whole number of at least 0, got {given:g}")
    return int(given)


def rate(name: str, value: Any) -> None:
    """Refuse a learning rate that is negative by more than rounding, infinite or NaN."""
    given = number(name, value)
    if not -_ROUNDING <= given < math.inf:
        raise ValueError(f"{name} must be at least 0 and finite, got {given:g}")


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
    given = value if type(value) is tuple else plain(value)
    if not isinstance(given, tuple) or len(given) != count:
        raise ValueError(f"{name} must be {count} numbers, got {value!r}")
    return given


def betas(value: Any, count: int) -> None:
    """Refuse betas that are too few, too many, out of range, or 1 minus what they should be."""
    given = _sequence("betas", value, count)
    for i, beta in enumerate(given):
        fraction(f"betas[{i}]", beta)
    # As Adan's paper and its ports to other frameworks print them; 0 keeps nothing on purpose.
    if float(max(given)) < 0.5 and float(min(given)) > 0.0:
        printed = ", ".join(f"{float(beta):g}" for beta in given)
        meant = ", ".join(f"{1.0 - float(beta):g}" for beta in given)
        raise ValueError(
            "betas must be what a step keeps, at least one of them 0.5 or more, "
            f"got ({printed}), which looks like 1 - beta; write ({meant})"
        )


def reckless_steps(value: Any) -> None:
    """Refuse ratios of Win's steps that are not above 0: it would freeze or divide by 0."""
    for i, gamma in enumerate(_sequence("reckless_steps", value, 2)):
        given = number(f"reckless_steps[{i}]", gamma)
        if not (math.isfinite(given) and given > 0.0):
            raise ValueError(f"reckless_steps[{i}] must be above 0 and finite, got {given:g}")


def cautious(group: Mapping[str, Any]) -> None:
    """Refuse what is no switch of caution, and a cautious decay under Win."""
    for name in ("cautious", "cautious_decay"):
        switch(name, group.get(name, False))
    fraction("cautious_factor", group.get("cautious_factor", 0.0))
    if group.get("cautious_decay") and group["acceleration"] not in _ONE_POINT:
        raise ValueError(
            "cautious_decay must be False when acceleration is "
            f"'{group['acceleration']}', whose points decay each on its own, got True; "
            "leave one of them out"
        )


def state_dtype(value: Any) -> None:
    """Refuse a dtype that averages cannot be kept in."""
    if value not in (None, torch.float32, torch.bfloat16):
        raise ValueError(
            f"state_dtype must be None, torch.float32 or torch.bfloat16, got {value!r}"
        )


def one_of(name: str, value: Any, known: Sequence[str]) -> None:
    """Refuse a value that is not among the known ones."""
    if not isinstance(value, str) or value not in known:
        quoted = [repr(word) for word in known]
        raise ValueError(f"{name} must be {', '.join(quoted[:-1])} or {quoted[-1]}, got {value!r}")


def unknown(name: str) -> str:
    """Return the sentence that refuses a keyword, with what to write instead where it is known."""
    way = f"; {_UNKNOWN[name]}" if name in _UNKNOWN else ""
    return f"got an unexpected keyword argument '{name}'{way}"


def group_keys(group: Mapping[str, Any]) -> None:
    """Reject group keys that this optimizer would ignore."""
    for name, way in _THEIRS.items():
        if group.get(name):
            raise ValueError(f"a group cannot set '{name}', got {group[name]!r}; {way}")


def decoupled(optimizer: str, own: bool | None, group: Mapping[str, Any]) -> None:
    """Refuse a group that wants another kind of weight decay than its optimizer's."""
    name = "decoupled_weight_decay"
    if own is not None and group.get(name, own) != own:
        raise ValueError(
            f"{name} must be {own} for {optimizer}, got {group[name]!r}; "
            f"use {'Adam' if own else 'AdamW'}"
        )


def parameter(p: Tensor, dithered: bool) -> None:
    """Refuse a parameter that no rule can step, or that cannot be rounded at random."""
    if p.is_complex():
        raise ValueError(
            f"parameters must be real, got {p.dtype}; pass torch.view_as_real(parameter)"
        )
    if dithered and p.dtype == torch.float16:
        raise ValueError(
            "stochastic_rounding is for parameters in bfloat16, got one in torch.float16; "
            "leave it off, or make the model bfloat16"
        )


def one_for_all(name: str) -> str:
    """Return the sentence that refuses another value of a group."""
    return (
        f"{name} holds for the whole optimizer, got another value in a group; "
        "set it in the constructor"
    )
