"""Order statistics on the numba backend, exact: from counts of the upper bits of numbers.

The bits of floats that are not negative are sorted as the floats are, and those of NaN come last.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from numba import njit

from autotune.kernels.numba import cache

_WORDS = {torch.float32: (np.int32, 31), torch.float64: (np.int64, 63)}
_BITS, _FEW_BITS = 11, 6  # of a pass
_FEW = 1 << 12  # numbers for which a table of 2^11 counts would cost more than they do


@functools.cache
def statistic(dtype: torch.dtype) -> Any:
    """Return ``f(values, place)``: the number at a place, from 0, if values were sorted.

    Values are not negative, of ``dtype``, contiguous, and lost: those left after a pass, which have
    the statistic's upper bits, are moved to the front.
    """
    word, bits = _WORDS[dtype]

    @njit(nogil=True)
    @cache.named(cache.known("statistic", dtype))
    def found(values: Any, place: Any) -> Any:
        words, left, shift = values.view(word), len(values), bits
        counts = np.empty(1 << _BITS, np.int64)
        while shift > 0 and left > 1:
            width = min(shift, _BITS if left > _FEW else _FEW_BITS)
            shift -= width
            mask = (1 << width) - 1
            counts[: mask + 1] = 0
            for n in range(left):
                counts[(words[n] >> shift) & mask] += 1
            digit = 0
            while place >= counts[digit]:
                place -= counts[digit]
                digit += 1
            kept = 0
            for n in range(left):
                own = words[n]
                words[kept] = own
                kept += ((own >> shift) & mask) == digit
            left = kept
        return values[0]

    return found
