"""Tables that a launch reads on its device: chunks of tensors, addresses, rows of scalars.

Tables sent before are found again by their content, so they are right even if tensors have moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autotune.kernels.layout import Ints
from autotune.kernels.triton.configs import config

_WIDEST = 16  # bytes that a thread reads at once
_RECENT = 64  # tables kept for the next step
_WRITTEN = 1 << 14  # numbers; a kernel takes about a hundred of them as arguments


class Place(NamedTuple):
    """A device, and the stream in whose order tables are sent there and read."""

    device: torch.device
    stream: int


class Cut(NamedTuple):
    """Tensors cut into chunks, one for each program that a launch runs."""

    programs: int
    chunks: Tensor  # one row each: tensor, start, length
    firsts: Tensor  # the first chunk of each tensor, then the number of chunks


def place(device: torch.device) -> Place:
    """Return a device with its current stream."""
    if device.type == "cpu":
        return Place(device, 0)
    return Place(device, torch.cuda.current_stream(device).cuda_stream)


def capturing(device: torch.device) -> bool:
    """Whether launches on a device are being captured into a CUDA graph instead of run."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def table(content: bytes, dtype: torch.dtype, where: Place) -> Tensor:
    """Return a table on a device; equal tables are sent once."""
    own = _own.get()
    return sent(content, dtype, where) if own is None else own.table(content, dtype, where)


@lru_cache(maxsize=64)
def sent(content: bytes, dtype: torch.dtype, where: Place) -> Tensor:
    """Return a table on a device, from the cache that optimizers share."""
    return _send(content, dtype, where)


def _send(content: bytes, dtype: torch.dtype, where: Place) -> Tensor:
    """Send a table without waiting, from pinned memory that torch keeps until it is read."""
    if not content:
        return torch.empty(0, dtype=dtype, device=where.device)
    numbers = torch.frombuffer(bytearray(content), dtype=dtype)
    if where.device.type == "cpu":
        return numbers
    return numbers.pin_memory().to(where.device, non_blocking=True)


class Tables:
    """Tables of one optimizer, kept as long as CUDA graphs may read them.

    Nothing is sent while a graph is captured: tables sent before are used, on whatever stream, and
    new ones are written by kernels of the graph.
    """

    def __init__(self) -> None:
        self._sent: dict[tuple[bytes, torch.dtype], tuple[int, Tensor]] = {}  # the oldest first
        self._captured: list[Tensor] = []

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Use these tables instead of those that optimizers share."""
        token = _own.set(self)
        try:
            yield
        finally:
            _own.reset(token)

    def table(self, content: bytes, dtype: torch.dtype, where: Place) -> Tensor:
        """Return a table on a device."""
        stream, found = self._sent.pop((content, dtype), (None, None))
        graph = capturing(where.device)
        if found is None and graph:
            return written(content, dtype, where.device)
        if found is None or (stream != where.stream and not graph):
            stream, found = where.stream, _send(content, dtype, where)
        self._sent[content, dtype] = stream or 0, found
        if graph:
            self._captured.append(found)
        elif len(self._sent) > _RECENT:
            del self._sent[next(iter(self._sent))]
        return found


_own: ContextVar[Tables | None] = ContextVar("tables of the optimizer that steps", default=None)


def written(content: bytes, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a table that kernels write from their arguments, so that a graph holds it."""
    numbers = torch.frombuffer(bytearray(content), dtype=dtype).tolist()
    if len(numbers) > _WRITTEN:
        raise RuntimeError(
            f"a captured step may write tables of at most {_WRITTEN} numbers, got {len(numbers)}; "
            "take a step with gradients of the same layout before the capture"
        )
    made = torch.zeros(len(numbers), dtype=dtype, device=device)
    torch._foreach_add_(list(made.unbind()), numbers)
    return made


def cut(sizes: Ints, addresses: Ints, where: Place) -> Cut:
    """Return tensors cut into chunks, of the size that a program takes on their device.

    Args:
        sizes: The number of elements of each tensor.
        addresses: The address of each tensor, or of each role and tensor.
        where: The tensors' device.
    """
    aligned = (addresses.reshape(-1, len(sizes)) % _WIDEST == 0).all(axis=0)
    programs, *content = _cut(sizes.tobytes(), aligned.tobytes(), config(where.device).chunk)
    return Cut(programs, *(table(each, torch.int64, where) for each in content))


@lru_cache(maxsize=16)
def _cut(sizes: bytes, aligned: bytes, chunk: int) -> tuple[int, bytes, bytes]:
    numels, straight = np.frombuffer(sizes, np.int64), np.frombuffer(aligned, np.bool_)
    chunks, firsts = lines(numels, straight, chunk)
    return len(chunks), chunks.tobytes(), firsts.tobytes()


def lines(sizes: Ints, aligned: NDArray[np.bool_], chunk: int) -> tuple[Ints, Ints]:
    """Return the chunks, and each tensor's first chunk.

    A full chunk of an aligned tensor has length ``chunk``. In a tensor that is not aligned, all
    lengths are negative.
    """
    counts = -(-sizes // chunk)
    firsts = np.concatenate([[0], np.cumsum(counts)])
    tensor = np.repeat(np.arange(len(sizes)), counts)
    starts = (np.arange(firsts[-1]) - firsts[tensor]) * chunk
    lengths = np.minimum(sizes[tensor] - starts, chunk)
    return np.stack([tensor, starts, np.where(aligned[tensor], lengths, -lengths)], axis=1), firsts
