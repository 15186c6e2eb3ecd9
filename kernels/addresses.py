"""Where tensors lie in memory, for kernels that read them by address.

An address does not show everything. A view may be negative by a bit that memory does not have, a
tensor of zeros may have no memory at all, and a subclass may stand for something else: a pending
collective, a pair of tensors, a mere shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autotune.kernels.layout import Ints, copied, dense


@cache
def in_memory(kind: type[Tensor]) -> bool:
    """Whether tensors of a class have memory themselves; wrappers take over every operator."""
    usual = Tensor.__torch_dispatch__
    return getattr(kind, "__torch_dispatch__", usual) is usual


def all_in_memory(tensors: Iterable[Tensor]) -> bool:
    """Whether no tensor is a wrapper."""
    return all(map(in_memory, set(map(type, tensors))))


def lazy(tensor: Tensor) -> bool:
    """Whether a tensor's memory does not hold its values: it is negated or zero by a bit alone."""
    return tensor.is_neg() or tensor._is_zerotensor()


def addresses(tensors: Sequence[Tensor]) -> Ints:
    """Return where tensors begin, 0 for one without memory; refuse what torch has no address of."""
    try:
        return np.fromiter(map(Tensor.data_ptr, tensors), np.int64, len(tensors))
    except RuntimeError:  # of a transform, as vmap's, or another layout
        for tensor in tensors:
            _refuse_unless_stored(tensor)
        raise


def absent(found: Ints, tensors: Sequence[Tensor]) -> list[int]:
    """Return the indices of tensors that have elements, but no address."""
    if np.count_nonzero(found) == len(found):
        return []
    return [i for i in np.flatnonzero(found == 0).tolist() if tensors[i].numel()]


def flat(tensors: Sequence[Tensor], dtype: torch.dtype) -> tuple[list[Tensor], Ints]:
    """Return tensors to read, and their addresses; those that are not one flat block are copied."""
    _refuse_wrappers(tensors)
    lying = [
        t
        if t.dtype is dtype and not t.is_neg() and (t.is_contiguous() or dense(t))
        else copied(t, t, dtype)
        for t in tensors
    ]
    places = addresses(lying)
    for i in absent(places, lying):
        if not lying[i]._is_zerotensor():
            refuse(lying[i])
        lying[i] = lying[i].clone()
        places[i] = lying[i].data_ptr()
    return lying, places


def of_each(stacks: Sequence[Tensor], count: int) -> tuple[Ints, Ints] | None:
    """Return where each replica's part of each stack begins, and the size of a part.

    None if a stack is not one flat block that shows its values.
    """
    flat_ones = all(map(Tensor.is_contiguous, stacks)) and not any(map(Tensor.is_neg, stacks))
    if not (flat_ones and all_in_memory(stacks) and len({t.dtype for t in stacks}) == 1):
        return None
    places = addresses(stacks)
    if absent(places, stacks):
        return None
    sizes = np.fromiter(map(Tensor.numel, stacks), np.int64, len(stacks)) // count
    return places + np.arange(count)[:, None] * (sizes * stacks[0].itemsize), sizes


def check_written_and_read(tensors: Sequence[Tensor], lost: Sequence[int], read: range) -> None:
    """Refuse tensors that a kernel cannot find; zeros without memory may be among those read."""
    _refuse_wrappers(tensors)
    for i in lost:
        if i not in read or not tensors[i]._is_zerotensor():
            refuse(tensors[i])
    for tensor in tensors:
        if not tensor._is_zerotensor():
            check_storage(tensor)


def check_freed(tensors: Sequence[Tensor]) -> None:
    """Refuse tensors whose storage was freed: even torch would read them at address 0."""
    if not all_in_memory(tensors):
        tensors = [t for t in tensors if in_memory(type(t))]
    try:
        places = np.fromiter(map(Tensor.data_ptr, tensors), np.int64, len(tensors))
    except RuntimeError:  # of a transform, which torch can run
        return
    for i in absent(places, tensors):
        if not (tensors[i]._is_zerotensor() or torch._is_functional_tensor(tensors[i])):
            check_storage(tensors[i])


def _refuse_wrappers(tensors: Sequence[Tensor]) -> None:
    if not all_in_memory(tensors):
        raise ValueError(_unstored(next(t for t in tensors if not in_memory(type(t)))))


def check_storage(tensor: Tensor) -> None:
    """Refuse a tensor whose storage is shorter than it; torch would read beyond the end."""
    if not tensor.numel() or tensor.is_meta:
        return
    last = sum(a * (n - 1) for a, n in zip(tensor.stride(), tensor.shape, strict=True))
    needed = (tensor.storage_offset() + last + 1) * tensor.element_size()
    held = tensor.untyped_storage().nbytes()
    if held < needed:
        raise ValueError(
            f"a step needs whole tensors, got one of shape {tuple(tensor.shape)} whose storage has "
            f"{held} of {needed} bytes; step after what freed it has brought it back"
        )


def refuse(tensor: Tensor) -> None:
    """Refuse a tensor without memory of its own."""
    _refuse_unless_stored(tensor)
    if tensor._is_zerotensor():
        raise ValueError(
            f"a step writes parameters and state, got zeros of shape {tuple(tensor.shape)} that "
            "have no memory (torch's ZeroTensor); pass a clone()"
        )
    if in_memory(type(tensor)) and not tensor.is_nested and not torch._is_functional_tensor(tensor):
        check_storage(tensor)
    raise ValueError(_unstored(tensor))


def _refuse_unless_stored(tensor: Tensor) -> None:
    try:
        tensor.data_ptr()
    except RuntimeError:
        raise ValueError(_unstored(tensor)) from None


def _unstored(tensor: Any) -> str:
    kind = f"nested {type(tensor).__name__}" if tensor.is_nested else type(tensor).__name__
    if tensor.layout is not torch.strided:
        kind = f"{kind} in layout {tensor.layout}"
    return (
        f"kernels read memory, got a {kind} that has none of its own; use backend='torch', or pass "
        "a dense tensor"
    )
