"""The exponential function in arithmetic that the compiler vectorises, unlike a library's call.

With n the whole number nearest to x / ln 2, exp(x) is 2^n exp(r), where r = x - n ln 2 is at most
0.35 in size: Taylor's series gives exp(r), and the bits of n are the exponent of 2^n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit, types
from numba.extending import intrinsic


class _Form(NamedTuple):
    """A floating-point format, and how far numbers can be followed in it."""

    number: Any
    held: Any
    word: Any
    mantissa: int  # bits
    bias: int  # of exponents
    terms: int  # of the series
    high: float  # ln 2 in few bits, so that its product with n is exact
    low: float  # what is left of it
    least: float  # below this the result is 0
    most: float  # above this it is infinite


_FORMS = {
    torch.float32: _Form(
        np.float32, types.float32, types.uint32, 23, 127, 8, 0.693359375,
        -2.12194440e-4, -86.5, 88.72283,
    ),
    torch.float64: _Form(
        np.float64, types.float64, types.uint64, 52, 1023, 14, 0.69314718036912382,
        1.9082149292705877e-10, -707.5, 709.782712893384,
    ),
}  # fmt: skip


@cache
def exponential(dtype: torch.dtype) -> Any:
    """Return ``exp`` for single numbers of a dtype, to 2 units in the last place.

    Results below the smallest normal number, or up to 4 times it, are 0.
    """
    form = _FORMS[dtype]
    number = form.number
    inverse, high, low = number(1.0 / math.log(2.0)), number(form.high), number(form.low)
    magic = number(1.5 * 2.0**form.mantissa)  # a number that is added to it is rounded to a whole
    one, two, nothing, endless = number(1.0), number(2.0), number(0.0), number(np.inf)
    least, most = number(form.least), number(form.most)
    series = _horner([number(1.0 / math.factorial(k)) for k in range(form.terms)])
    power_of_two = _power_of_two(form)

    @njit(forceinline=True)
    def exp(x: Any) -> Any:
        held = least if x < least else x
        held = most if held > most else held
        shifted = held * inverse + magic
        n = shifted - magic
        r = held - n * high - n * low
        made = two * series(r) * power_of_two(shifted - one)
        made = nothing if x < least else made
        return endless if x > most else made

    return exp


def _horner(coefficients: Sequence[Any]) -> Any:
    """Return ``f(r)``, a polynomial with the constant coefficient first."""
    first, rest = coefficients[0], coefficients[1:]
    if not rest:
        return njit(forceinline=True)(lambda r: first)
    more = _horner(rest)
    return njit(forceinline=True)(lambda r: first + r * more(r))


def _power_of_two(form: _Form) -> Any:
    """Return ``f(shifted)``: 2 to the whole number in the last bits of what is shifted."""

    @intrinsic
    def power(typing: Any, shifted: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            held, word = (context.get_value_type(t) for t in (form.held, form.word))
            exponent = builder.add(builder.bitcast(args[0], word), word(form.bias))
            return builder.bitcast(builder.shl(exponent, word(form.mantissa)), held)

        return form.held(form.held), generate

    return power
