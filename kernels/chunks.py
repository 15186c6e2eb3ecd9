"""Tables on a device that a launch reads: chunks of tensors, addresses, rows of scalars.

They are found by their content: one that is found is right, whatever moved since it was sent.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autotune.kernels.configs import config
from autotune.kernels.layout import Ints

_WIDEST = 16  # bytes that a thread reads at once


class Place(NamedTuple):
    """A device, and the stream in whose order tables are sent there and read."""

    device: torch.device
    stream: int


class Cut(NamedTuple):
    """Tensors cut into chunks, one for each program that a launch runs."""

    programs: int
    chunks: Tensor  # a line each: tensor, start, length
    firsts: Tensor  # the first chunk of each tensor; ends with their count


def place(device: torch.device) -> Place:
    """Return a device with its current stream."""
    if device.type == "cpu":
        return Place(device, 0)
    return Place(device, torch.cuda.current_stream(device).cuda_stream)


@lru_cache(maxsize=64)
def sent(content: bytes, dtype: torch.dtype, where: Place) -> Tensor:
    """Return numbers on a device; equal ones are sent once."""
    return _send(content, dtype, where)


def _send(content: bytes, dtype: torch.dtype, where: Place) -> Tensor:
    """Send numbers without waiting, from pinned memory that torch keeps until it is read."""
    numbers = torch.frombuffer(bytearray(content), dtype=dtype)
    if where.device.type == "cpu":
        return numbers
    return numbers.pin_memory().to(where.device, non_blocking=True)


def cut(sizes: Ints, addresses: Ints, where: Place) -> Cut:
    """Return tensors of these sizes in chunks, by what a program takes on their device.

    Args:
        sizes: Elements of each tensor.
        addresses: Of each tensor, or by role and tensor of those that are stepped together.
        where: Their device.
    """
    aligned = (addresses.reshape(-1, len(sizes)) % _WIDEST == 0).all(axis=0)
    return _cut(sizes.tobytes(), aligned.tobytes(), where)


@lru_cache(maxsize=16)
def _cut(sizes: bytes, aligned: bytes, where: Place) -> Cut:
    numels, straight = np.frombuffer(sizes, np.int64), np.frombuffer(aligned, np.bool_)
    chunks, firsts = lines(numels, straight, config(where.device).chunk)
    if not len(chunks):
        nothing = torch.empty(0, dtype=torch.int64, device=where.device)
        return Cut(0, nothing, _send(firsts.tobytes(), torch.int64, where))
    return Cut(len(chunks), *(_send(a.tobytes(), torch.int64, where) for a in (chunks, firsts)))


def lines(sizes: Ints, aligned: NDArray[np.bool_], chunk: int) -> tuple[Ints, Ints]:
    """Return chunks, and the first of each tensor.

    A chunk of an aligned tensor that is full has length ``chunk``; every length in a tensor that
    is not aligned is negative.
    """
    counts = -(-sizes // chunk)
    firsts = np.concatenate([[0], np.cumsum(counts)])
    tensor = np.repeat(np.arange(len(sizes)), counts)
    starts = (np.arange(firsts[-1]) - firsts[tensor]) * chunk
    lengths = np.minimum(sizes[tensor] - starts, chunk)
    return np.stack([tensor, starts, np.where(aligned[tensor], lengths, -lengths)], axis=1), firsts
