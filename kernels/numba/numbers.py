"""Rules as the numba backend compiles them: for single numbers, and for tuples of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numba import njit
from numba.np.unsafe import ndarray

from autotune.kernels.lang import Function, bind
from autotune.kernels.numba.exponential import exponential

# Any, as Numba's types are those outside compiled code; inside, it takes an array and a length.
fixed: Any = ndarray.to_fixed_tuple

# No flag here lets the compiler assume that NaN or infinity cannot occur.
FAST = {"contract", "arcp", "nsz"}
SUM = FAST | {"reassoc"}

NUMBERS = {torch.float32: np.float32, torch.float64: np.float64}

# Numba resolves attributes of modules only, so the language of single numbers is a module object.
_SCALAR = ModuleType("autotune.kernels.numba.scalar")
_SCALAR.__dict__.update(
    sqrt=math.sqrt,
    log=math.log,
    abs=abs,
    where=njit(inline="always")(lambda condition, yes, no: yes if condition else no),
    maximum=njit(inline="always")(lambda a, b: a if a > b else b),
    cast=njit(inline="always")(lambda value, dtype: np.uint32(value)),
    uint32=None,
)


@functools.cache
def _language(dtype: torch.dtype) -> ModuleType:
    """Return the language of numbers of ``dtype``."""
    made = ModuleType(_SCALAR.__name__)
    made.__dict__.update(vars(_SCALAR), exp=exponential(dtype))
    return made


def scalar(rule: Function, dtype: torch.dtype) -> Any:
    """Return the rule compiled for single numbers of ``dtype``."""
    wrap = njit(inline="always", fastmath=FAST, error_model="numpy")
    return bind(rule, _language(dtype), wrap, NUMBERS[dtype])


@functools.cache
def whole(rule: Function) -> Any:
    """Return a rule of integers, inlined by LLVM, not by Numba: that compiles faster."""
    return bind(rule, _SCALAR, njit(forceinline=True))


def mapped(count: int, fn: Callable[..., Any]) -> Any:
    """Return ``f(values, by)``: the tuple of ``fn(value, by)`` for each of ``count`` values."""
    if not count:
        return njit(inline="always")(lambda values, by: ())
    before, last, one = mapped(count - 1, fn), count - 1, njit(inline="always")(fn)
    return njit(inline="always")(lambda values, by: (*before(values, by), one(values[last], by)))


def part(start: int, count: int) -> Any:
    """Return ``f(row)``: the tuple of ``count`` numbers of a row, from ``start`` on."""
    if not count:
        return njit(inline="always")(lambda row: ())
    return njit(inline="always")(lambda row: fixed(row[start:], count))
