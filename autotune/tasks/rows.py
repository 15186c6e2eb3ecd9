"""How many samples a batch holds, where its tensors tell; a wrong number is worse than none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from torch import Tensor

IMAGE = 3  # dimensions of one image, in a list of which each is a sample


def samples(batch: Any) -> int | None:
    """Return the length that all tensors of a batch share, however nested; None if they differ.

    None too for a list whose tensors may be a sample each, and for a batch without tensors.
    """
    found = list(_shapes(batch))
    lengths = {shape[0] for shape in found if shape}
    apart = isinstance(batch, list) and all(len(shape) == IMAGE for shape in found)
    return lengths.pop() if len(lengths) == 1 and not (apart and len(found) > 1) else None


def usual(batches: Sequence[Any]) -> int | None:
    """Return the samples of most batches: the last of an epoch may hold fewer."""
    counts = Counter(map(samples, batches))
    found, times = counts.most_common(1)[0]
    return found if None not in counts and 2 * times > len(batches) else None


def total(batches: Sequence[Any]) -> int | None:
    """Return the samples of all batches."""
    counts = [samples(batch) for batch in batches]
    return None if None in counts else sum(count for count in counts if count)


def _shapes(batch: Any) -> Iterator[tuple[int, ...]]:
    if isinstance(batch, Tensor | np.ndarray):
        yield tuple(batch.shape)
        return
    parts: Any = ()
    if isinstance(batch, Mapping):
        parts = batch.values()
    elif isinstance(batch, list | tuple):
        parts = batch
    elif is_dataclass(batch):
        parts = [getattr(batch, field.name) for field in fields(batch)]
    for part in parts:
        yield from _shapes(part)
