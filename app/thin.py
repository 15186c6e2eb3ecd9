"""Fewer points than were measured, where a page could not tell them apart, but the extremes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

MOST = 2000  # points of one state or optimizer; a browser draws as many in a quarter of a second


def extremes(values: Sequence[float], limit: int) -> list[int]:
    """Return the places of each bucket's lowest and highest value, and of both ends."""
    if len(values) <= limit:
        return list(range(len(values)))
    count = max(1, (limit - 2) // 2)
    edges = [1 + i * (len(values) - 2) // count for i in range(count + 1)]
    kept = {0, len(values) - 1}
    for start, stop in pairwise(edges):
        kept.add(min(range(start, stop), key=values.__getitem__))
        kept.add(max(range(start, stop), key=values.__getitem__))
    return sorted(kept)


def cloud(places: Sequence[float], values: Sequence[float], limit: int = MOST) -> list[int]:
    """Return which points to draw of a cloud: half are extremes along it, half an even choice.

    Extremes alone would look like two lines.

    Args:
        places: Of the points on the axis that the buckets divide.
        values: On the other axis.
        limit: At most so many points are chosen.
    """
    if len(values) <= limit:
        return list(range(len(values)))
    order = sorted(range(len(values)), key=places.__getitem__)
    half = limit // 2
    kept = {order[i] for i in extremes([values[i] for i in order], half)}
    kept |= {order[i * len(order) // half] for i in range(half)}
    return sorted(kept)


def even(count: int, limit: int) -> list[int]:
    """Return places of at most ``limit`` of so many values, the first and the last included."""
    if count <= limit:
        return list(range(count))
    return [i * (count - 1) // (limit - 1) for i in range(limit)]
