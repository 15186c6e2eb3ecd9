"""The layout of tensors in memory, dense copies, and the dtype that a step computes in."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ints = NDArray[np.int64]  # addresses and sizes


# Kinds of devices without float64: Apple's GPUs.
WITHOUT_FLOAT64 = {"mps"}


def sums(device: torch.device) -> torch.dtype:
    """Return the dtype that squares are summed in on a device."""
    return torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64


def precision(p: Tensor) -> torch.dtype:
    """Return the dtype a parameter's step is computed in, and its state is kept in."""
    return torch.float64 if p.dtype == torch.float64 else torch.float32


def lies_like(tensor: Tensor, home: Tensor) -> bool:
    """Whether both have one layout; strides of dimensions of size 1 do not matter."""
    if tensor.shape != home.shape:
        return False
    pairs = zip(tensor.stride(), home.stride(), home.shape, strict=True)
    return home.numel() == 0 or all(a == b for a, b, size in pairs if size > 1)


def dense(p: Tensor) -> bool:
    """Whether the elements fill one block of memory without gaps, in any order."""
    if p.is_contiguous():
        return True
    lying = sorted((a, size) for a, size in zip(p.stride(), p.shape, strict=True) if size > 1)
    reach = [a for a, _ in lying]
    return reach[0] == 1 and all(b == a * size for (a, size), (b, _) in pairwise(lying))


def copied(tensor: Tensor, like: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a dense copy, in the element order of ``like`` if that is dense."""
    return torch.empty_like(like, dtype=dtype).copy_(tensor)
