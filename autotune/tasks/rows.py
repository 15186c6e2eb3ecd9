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

    None too where each part may be a sample, or all of it one with its label, and for a batch
    without tensors.
    """
    found = list(_shapes(batch))
    if _is_of_samples(batch) or _is_sample(batch):
        return None
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


def _is_of_samples(batch: Any) -> bool:
    """Whether no part is a tensor but all hold some, as where nothing, or zip, collates samples.

    A pair of dictionaries is inputs and targets, each of the whole batch.
    """
    several = isinstance(batch, list | tuple) and len(batch) > 1
    named = isinstance(batch, tuple) and all(isinstance(part, Mapping) for part in batch)
    return several and not named and all(_parts(part) for part in batch)


def _is_sample(batch: Any) -> bool:
    """Whether a batch is one tensor with one number: a sample of a data set, and its label."""
    parts = _parts(batch)
    if len(parts) != 2:
        return False
    single = [part for part in parts if isinstance(part, int | float) or _shape(part) == ()]
    return len(single) == 1 and sum(bool(_shape(part)) for part in parts) == 1


def _shapes(batch: Any) -> Iterator[tuple[int, ...]]:
    shape = _shape(batch)
    if shape is not None:
        yield shape
    for part in _parts(batch):
        yield from _shapes(part)


def _shape(part: Any) -> tuple[int, ...] | None:
    """Return a tensor's shape; a nested one has a length, and may have no shape."""
    if isinstance(part, Tensor) and part.is_nested:
        return (part.size(0),)
    return tuple(part.shape) if isinstance(part, Tensor | np.ndarray | np.generic) else None


def _parts(batch: Any) -> list[Any]:
    if isinstance(batch, Mapping):
        return list(batch.values())
    if isinstance(batch, list | tuple):
        return list(batch)
    if is_dataclass(batch):
        return [getattr(batch, field.name) for field in fields(batch)]
    return []
