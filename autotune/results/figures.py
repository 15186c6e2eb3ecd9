"""Losses and times as text: digits that tell them apart, as many as they can carry."""

from __future__ import annotations

import math
from itertools import pairwise

_SMALL, _LARGE = 1e-3, 1e5  # beyond these a power of ten is easier to read than zeros
_MOST = 12  # significant digits: further ones of a difference are rounding


def figure(value: float) -> str:
    """Write a number to four decimals, or to four to six significant digits where that says more.

    Example:
        >>> [figure(x) for x in (2.30258, 0.0123456, 5.12e-06, 1e29, 1234.5678)]
        ['2.3026', '0.01235', '5.120e-06', '1.000e+29', '1234.57']
    """
    return together(value)[0]


def together(*values: float) -> list[str]:
    """Write numbers that are to be compared, alike and with two digits of what they differ by.

    Example:
        >>> together(0.5, 0.500012)
        ['0.500000', '0.500012']
        >>> together(5.12e-06, 3e-08)
        ['5.120e-06', '0.030e-06']
    """
    finite = [abs(value) for value in values if math.isfinite(value)]
    size = max(finite, default=0.0)
    ordered = sorted({value for value in values if math.isfinite(value)})
    gaps = [b - a for a, b in pairwise(ordered)]
    return _written(values, size, min(gaps, default=0.0))


def with_half(mean: float, half: float) -> tuple[str, str]:
    """Write a mean and half of its interval, to two digits of the smaller that both share.

    Example:
        >>> with_half(2.3026, 0.000021)
        ('2.302600', '0.000021')
    """
    size = max((abs(x) for x in (mean, half) if math.isfinite(x)), default=0.0)
    first, second = _written((mean, half), size, abs(half) if math.isfinite(half) else 0.0)
    return first, second


def signed(text: str) -> str:
    """Return a written number with its sign, also a positive one's."""
    return text if text.startswith("-") else f"+{text}"


def _written(values: tuple[float, ...], size: float, least: float) -> list[str]:
    """Write values of this ``size`` so that ``least`` shows two digits."""
    if not size or not math.isfinite(size):
        return [f"{value:.4f}" for value in values]
    exponent = math.floor(math.log10(size))
    tells = size * 10.0**-_MOST < least < math.inf  # less is rounding
    fine = 1 - math.floor(math.log10(least)) if tells else 3 - exponent
    most = _MOST - 1 - exponent
    if _SMALL <= size < _LARGE:
        usual = 4 if -1 <= exponent <= 1 else 3 - exponent if exponent < -1 else 5 - exponent
        decimals = min(max(usual, fine if tells else 0), most)
        return [f"{value:.{decimals}f}" for value in values]
    decimals = min(max(3, fine + exponent), _MOST - 1)
    return [_scientific(value, exponent, decimals) for value in values]


def _scientific(value: float, exponent: int, decimals: int) -> str:
    if not math.isfinite(value):
        return str(value)
    # Scaled in two steps: a power of ten below 1e-308 would lose its digits.
    half = exponent // 2
    return f"{value / 10.0**half / 10.0 ** (exponent - half):.{decimals}f}e{exponent:+03d}"
