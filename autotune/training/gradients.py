"""The gradients of a training step, with their graph for an optimizer that differentiates them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from autotune.tasks.base import Run


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


def descend(run: Run, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Compute the gradients of a run's loss, and step.

    Where the loss is scaled, a step whose gradients overflow is left out, and the scale halved.
    """
    scaler = getattr(run, "scaler", None)
    if scaler is None:
        backward(optimizer, loss)
        optimizer.step()
        return
    backward(optimizer, scaler.scale(loss))
    scaler.step(optimizer)
    scaler.update()


def backward(optimizer: Any, loss: Tensor) -> None:
    """Compute the gradients of a loss as its optimizer needs them."""
    if twice(optimizer):
        optimizer.backward(loss)
    else:
        loss.backward()  # type: ignore[no-untyped-call]
