"""The norms of each step's gradient, read before the optimizer changes it.

They are computed where the gradients are and read when they are asked for, so that a device goes
on meanwhile. Nothing is changed by it: a run has the losses that it has without.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from autotune.devices import CPU, Device
from autotune.studies.records import Gradient

ORDERS = (1.0, 2.0)


class Norms:
    """Follows an optimizer's steps.

    Args:
        optimizer: Its gradients are measured before each of its steps, over all its parameters.
        start: Steps that were taken before.
        device: Where they are computed.
    """

    def __init__(self, optimizer: Optimizer, start: int = 0, device: Device = CPU) -> None:
        self._taken, self._device = start, device
        self._unread: list[Tensor] = []
        optimizer.register_step_pre_hook(self._measure)

    def read(self) -> tuple[Gradient, ...]:
        """Return the norms of the steps since the last call; waits for a device."""
        numbers = self._device.numbers(self._unread) if self._unread else []
        self._unread = []
        first = self._taken - len(numbers) // len(ORDERS)
        return of_steps(numbers, first)

    def _measure(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._taken += 1
        self._unread.append(norms_of(gradients_of(optimizer)))


def of_steps(numbers: Sequence[float], taken: int) -> tuple[Gradient, ...]:
    """Return L1 and L2 norms in turn as those of the steps after ``taken`` ones."""
    pairs = zip(*(numbers[at :: len(ORDERS)] for at in range(len(ORDERS))), strict=True)
    return tuple(
        Gradient(step=step, l1=_finite(l1), l2=_finite(l2))
        for step, (l1, l2) in enumerate(pairs, taken + 1)
    )


def norms_of(gradients: Sequence[Tensor]) -> Tensor:
    """Return the L1 and the L2 norm over all of some tensors, in single precision at least."""
    precise = [g if g.dtype in (torch.float32, torch.float64) else g.float() for g in gradients]
    if not precise:
        return torch.zeros(len(ORDERS))
    return torch.stack([get_total_norm(precise, order) for order in ORDERS])


def norms_of_each(weights: Sequence[Tensor]) -> Tensor:
    """Return both norms of each of some runs, whose weights are stacked along a first dimension.

    Returns:
        Shape (runs, 2).
    """
    rows = [w.grad.flatten(1) for w in weights if w.grad is not None]
    both = [torch.stack([torch.linalg.vector_norm(g, o, dim=1) for g in rows]) for o in ORDERS]
    each = zip(both, ORDERS, strict=True)
    return torch.stack([torch.linalg.vector_norm(norms, o, dim=0) for norms, o in each], dim=1)


def gradients_of(optimizer: Optimizer) -> list[Tensor]:
    """Return the gradients of an optimizer's parameters, without the scale of a GradScaler."""
    scale = getattr(optimizer, "grad_scale", None)  # where it leaves gradients to the step
    found = [g.detach() for g in _each(optimizer) if g is not None]
    return found if scale is None else [g.float() / scale.to(g.device) for g in found]


def _each(optimizer: Optimizer) -> Iterable[Tensor | None]:
    return (p.grad for group in optimizer.param_groups for p in group["params"])


def _finite(norm: float) -> float | None:
    return norm if math.isfinite(norm) else None
