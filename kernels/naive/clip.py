"""Clipping by the global norm, of all tensors together."""

from __future__ import annotations

import math
from collections.abc import Sequence


def clip(
    grads: Sequence[Sequence[float] | None], limit: float, eps: float
) -> list[list[float] | None]:
    """Return gradients whose norm is at most ``limit``; LAMB's form has ``eps`` 0."""
    total = 0.0
    for grad in grads:
        for g in grad or ():
            total += g * g
    norm = math.sqrt(total)
    if limit == 0.0 or norm + eps <= limit:
        return [None if grad is None else list(grad) for grad in grads]
    factor = limit / (norm + eps)
    return [None if grad is None else [factor * g for g in grad] for grad in grads]
