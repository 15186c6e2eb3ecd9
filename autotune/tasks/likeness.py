"""A number by which two processes tell whether they read the same batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

MOST = 1 << 16  # numbers of a tensor that are looked at


def likeness(batch: Any) -> float:
    """Return a number that batches share if they hold the same numbers in the same order.

    It moves as little as they do, so another processor's rounding does not show.
    """
    total = norm = 0.0
    for place, numbers in enumerate(leaves(batch)):
        weights = np.cos(np.arange(1.0, len(numbers) + 1) + place)
        total += float(numbers @ weights)
        norm += float(numbers @ numbers)
    return total / math.sqrt(norm) if 0 < norm < math.inf and math.isfinite(total) else 0.0


def first(batch: Any, validation: Any) -> dict[str, float]:
    """Return by name what the first batches of a run are recognised by."""
    return {"batches": likeness(batch), "validation batches": likeness(validation)}


def leaves(batch: Any) -> Iterator[np.ndarray[Any, np.dtype[np.float64]]]:
    """Yield the numbers of each tensor, array, number and text in a batch, however nested."""
    if isinstance(batch, str | bytes):
        yield np.array([float(crc32(batch.encode() if isinstance(batch, str) else batch))])
    elif isinstance(batch, Tensor):
        yield from _tensor(batch)
    elif isinstance(batch, int | float):
        yield np.array([float(batch)])
    elif isinstance(batch, np.ndarray | np.generic):
        if batch.dtype.kind in "biuf":
            yield np.asarray(batch).reshape(-1)[:MOST].astype(np.float64)
    else:
        for part in _parts(batch):
            yield from leaves(part)


def _tensor(value: Tensor) -> Iterator[np.ndarray[Any, np.dtype[np.float64]]]:
    if value.layout is not torch.strided or value.is_meta or value.is_quantized:
        return
    plain = value.detach().resolve_conj().resolve_neg()
    if plain.is_complex():
        plain = torch.view_as_real(plain)
    yield plain.reshape(-1)[:MOST].cpu().double().numpy()


def _parts(batch: Any) -> Iterator[Any]:
    if isinstance(batch, Mapping):
        yield from batch.values()
    elif isinstance(batch, list | tuple):
        yield from batch
    elif is_dataclass(batch):
        yield from (getattr(batch, field.name) for field in fields(batch))
