"""The gradients of a step, in a form that a rule can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter

import torch
from torch import Tensor

from autotune.kernels.addresses import all_in_memory
from autotune.optimizers import sharded

# For each parameter, the tensors that a compiler made for its values and its gradient.
Given = Mapping[Tensor, tuple[Tensor, Tensor]]

_LAYOUT, _DTYPE, _SHAPE = attrgetter("layout"), attrgetter("dtype"), attrgetter("shape")
_STRIDED = {torch.strided}
_REAL = {torch.float32, torch.bfloat16, torch.float16, torch.float64}
_SPARSE = (
    torch.sparse_coo,
    torch.sparse_csr,
    torch.sparse_csc,
    torch.sparse_bsr,
    torch.sparse_bsc,
)


def checked(
    optimizer: str, params: Sequence[Tensor], given: Given | None
) -> list[tuple[Tensor, Tensor]]:
    """Return the parameters that have a gradient, with it; refuse one that no rule can read."""
    if given is None:
        pairs = [(p, g) for p in params if (g := p.grad) is not None]
    else:
        pairs = [(p, given[p][1]) for p in params if p in given]
    if not pairs:
        return pairs
    params, grads = zip(*pairs, strict=True)
    if given is None and _fit(params, grads):
        return pairs
    pairs = [(p, sharded.waited(g)) for p, g in pairs]
    for p, g in pairs:
        value = p if given is None else given[p][0]
        if problem := _unreadable(optimizer, g) or _misplaced(p, g) or _misshapen(value, g):
            raise ValueError(problem)
    return pairs


def _fit(params: Sequence[Tensor], grads: Sequence[Tensor]) -> bool:
    """Whether gradients are sure to be what a rule reads; all are asked at once, for speed."""
    if not (all_in_memory(grads) and set(map(_LAYOUT, grads)) == _STRIDED):
        return False
    try:
        same = list(map(_SHAPE, params)) == list(map(_SHAPE, grads))
    except RuntimeError:  # nested tensors have no shape
        return False
    return same and set(map(_DTYPE, grads)) <= _REAL


def _unreadable(name: str, g: Tensor) -> str | None:
    """Return why a rule cannot read a gradient."""
    if g.layout in _SPARSE:
        return f"{name} takes dense gradients, got a sparse one; build the layer with sparse=False"
    if g.layout is not torch.strided or g.is_nested:
        kind = "a nested one" if g.is_nested else f"one in layout {g.layout}"
        return f"{name} takes dense gradients, got {kind}; make the parameter dense"
    if g.dtype.is_complex:
        return f"gradients must be real, got {g.dtype}; give the parameter a real grad_dtype"
    if not g.dtype.is_floating_point:
        return f"gradients must be in floating point, got {g.dtype}; leave the parameter out"
    return None


def _misplaced(p: Tensor, g: Tensor) -> str | None:
    """Return why a gradient is not where its parameter is."""
    if sharded.is_sharded(p) or not sharded.is_sharded(g):
        return None
    return (
        "a gradient must be whole where its parameter is, got a DTensor; "
        "assign gradient.full_tensor()"
    )


def _misshapen(value: Tensor, g: Tensor) -> str | None:
    """Return why a gradient's shape is wrong."""
    if g.shape == value.shape:
        return None
    return (
        f"a gradient must have its parameter's shape {tuple(value.shape)}, got {tuple(g.shape)}; "
        "call zero_grad() after replacing a parameter's data"
    )
