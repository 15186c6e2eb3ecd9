"""The bandwidth a step is compared with: the most bytes a second this device was seen to move.

On a CPU an in-place scale of one tensor is the fastest stream of reads and writes there is; on a
GPU it is one kernel that reads six arrays and writes five, as Adan's step does.
"""

from __future__ import annotations

from typing import Protocol

import torch

_FACTOR = 1.0000001
_CPU_MOST = 1 << 28  # elements
_GPU_LEAST, _GPU_MOST = 1 << 24, 1 << 27  # elements an array: beyond any cache, within any memory


class Stream(Protocol):
    """Something that moves memory, and how much at a time."""

    kind: str
    size: int  # bytes moved by a pass

    def __call__(self) -> object:
        """Make one pass."""


class Scale:
    """An in-place multiplication."""

    kind = "in-place scale (1 read, 1 write)"

    def __init__(self, elements: int, device: str) -> None:
        self.array = torch.ones(elements, device=device)
        self.size = 2 * self.array.nbytes

    def __call__(self) -> object:
        """Make one pass."""
        return self.array.mul_(_FACTOR)


def elements(parameters: int, device: str) -> int:
    """Return the length of the stream for a model: as much memory as an optimizer step meets."""
    if device == "cuda":
        return min(max(parameters, _GPU_LEAST), _GPU_MOST)
    return min(4 * parameters, _CPU_MOST)


def memory(parameters: int, device: str) -> int:
    """Return the bytes of memory the stream for a model takes."""
    arrays = 6 if device == "cuda" else 1
    return 4 * arrays * elements(parameters, device)


def stream(parameters: int, device: str) -> Stream:
    """Return the stream to compare a model's step with."""
    if device != "cuda":
        return Scale(elements(parameters, device), device)
    from autotune.bench.step.triton_stream import TritonStream

    return TritonStream(elements(parameters, device))
