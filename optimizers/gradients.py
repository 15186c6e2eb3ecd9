"""The gradients of a step, in a form that a rule can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

# For each parameter, the tensors that a compiler made for its values and its gradient.
Given = Mapping[Tensor, tuple[Tensor, Tensor]]


def checked(
    optimizer: str, params: Sequence[Tensor], given: Given | None
) -> list[tuple[Tensor, Tensor]]:
    """Return the parameters that have a gradient, with it; refuse one that no rule can read."""
    if given is None:
        pairs = [(p, g) for p in params if (g := p.grad) is not None]
    else:
        pairs = [(p, given[p][1]) for p in params if p in given]
    for p, g in pairs:
        shape = p.shape if given is None else given[p][0].shape
        if g.layout is not torch.strided or g.dtype.is_complex or g.shape != shape:
            raise ValueError(_unfit(optimizer, p, g))
    return pairs


def _unfit(name: str, p: Tensor, g: Tensor) -> str:
    if g.layout is not torch.strided:
        return f"{name} takes dense gradients, got a sparse one; build the layer with sparse=False"
    if g.dtype.is_complex:
        return f"gradients must be real, got {g.dtype}; give the parameter a real grad_dtype"
    return (
        f"a gradient must have its parameter's shape {tuple(p.shape)}, got {tuple(g.shape)}; "
        "call zero_grad() after replacing a parameter's data"
    )
