"""What the squares of gradients add to the sums of AdaGrad by rows, as AdAdaGrad's authors have it.

All elements of a matrix's row, or of a convolution's output channel, share one sum. A tensor of
another form has a sum for each element, to which also the rows of the matrix before it are added,
where its length divides their number: their code takes it for the bias of that matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

_CUT = (2, 4)  # dimensions of tensors with rows


def added(grads: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield what each gradient adds to the sums of its parameter, in the parameter's shape.

    Args:
        grads: Those of one step, in the order of parameters: that decides which rows precede.
    """
    rows: Tensor | None = None
    for g in grads:
        if g.ndim in _CUT:
            rows = g.flatten(1).square().sum(dim=1)
            yield rows.reshape(-1, *[1] * (g.ndim - 1)).expand_as(g)
        else:
            yield g.square() + _before(rows, g)


def _before(rows: Tensor | None, g: Tensor) -> Tensor:
    """Return what the rows before a gradient that has none add to its sums."""
    length = len(g) if g.ndim else 0
    if rows is None or not length or len(rows) % length or g.shape[-1] not in (1, length):
        return torch.zeros((), dtype=g.dtype, device=g.device)
    return rows.to(g).reshape(length, -1).mean(dim=1)
