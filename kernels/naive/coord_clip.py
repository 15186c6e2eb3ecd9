"""Coordinate-wise clipping, number by number, by a quantile of one tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence


def clipped(x: Sequence[float], share: float) -> list[float]:
    """Return numbers of which the ``share`` largest in size have the size of the next.

    The threshold is the element ``n - floor(share * n)`` of n sizes, counted from 1 in rising
    order: ``torch.kthvalue``'s, and NumPy's quantile at ``1 - share`` by 'inverted_cdf'. NaN is
    larger than any number, and stays.
    """
    if not x:
        return []
    sizes = sorted((abs(a) for a in x), key=lambda size: (math.isnan(size), size))
    limit = sizes[len(x) - 1 - min(int(share * len(x)), len(x) - 1)]
    return [math.copysign(limit, a) if abs(a) > limit else a for a in x]
