"""The gradients of a training step, with their graph for an optimizer that differentiates them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def twice(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether an optimizer differentiates gradients once more."""
    return bool(getattr(optimizer, "second_order", False))


def differentiable(optimizer: torch.optim.Optimizer) -> AbstractContextManager[Any]:
    """Return the context for a loss that can be differentiated as often as its optimizer needs.

    Fused attention can be differentiated once only.
    """
    if not twice(optimizer):
        return nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)


def backward(optimizer: Any, loss: Tensor) -> None:
    """Compute the gradients of a loss as its optimizer needs them."""
    if twice(optimizer):
        optimizer.backward(loss)
    else:
        loss.backward()  # type: ignore[no-untyped-call]
