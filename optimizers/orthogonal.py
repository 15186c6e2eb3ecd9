"""Newton-Schulz orthogonalisation: singular values of many matrices moved near one at a time.

A matrix of singular value decomposition U S V' becomes about U V', by matrix products alone. It is
computed in bfloat16, as its authors do: what it makes of singular values is rough anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Of a quintic whose slope at 0 is as large as it can be; from Keller Jordan's Muon.
COEFFICIENTS = (3.4445, -4.775, 2.0315)
LIMIT = 100  # steps, as torch has it


def orthogonalised(
    matrices: Sequence[Tensor], coefficients: Sequence[float], steps: int, eps: float
) -> list[Tensor]:
    """Return each matrix with singular values near 1, in bfloat16.

    Args:
        matrices: Of any shapes, on any device; those of equal shape are multiplied together.
        coefficients: a, b and c of the polynomial a X + b X X' X + c X X' X X' X.
        steps: How often it is applied.
        eps: Least norm that a matrix is divided by before.
    """
    alike: dict[tuple[torch.Size, torch.device], list[int]] = {}
    for k, matrix in enumerate(matrices):
        alike.setdefault((matrix.shape, matrix.device), []).append(k)
    found: dict[int, Tensor] = {}
    for places in alike.values():
        stack = torch.stack([matrices[k].bfloat16() for k in places])
        found.update(zip(places, _of_stack(stack, coefficients, steps, eps), strict=True))
    return [found[k] for k in range(len(matrices))]


def _of_stack(x: Tensor, coefficients: Sequence[float], steps: int, eps: float) -> Tensor:
    a, b, c = coefficients
    tall = x.size(-2) > x.size(-1)
    if tall:
        x = x.mT
    # One by one: a norm over two dimensions may round otherwise than that of one matrix.
    norms = torch.stack([matrix.norm() for matrix in x.unbind()])
    x = x / norms.clamp(min=eps)[:, None, None]
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def ratio(rule: str | None, shape: torch.Size) -> float:
    """Return what an orthogonal update of a shape is multiplied by.

    ``'match_rms_adamw'`` is Moonshot's 0.2 sqrt(max(rows, columns)), with which updates are as
    large as AdamW's; ``'original'`` and None are Keller Jordan's sqrt(max(1, rows / columns)).
    """
    rows, columns = shape
    if rule == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / columns))
