"""How noisy a run's gradient is: measured at some of its steps, without changing the run.

Before the optimizer's step, gradients of further batches are taken at the same weights. Their
squared norms and that of their mean are those of two batch sizes, from which the variance of single
samples' gradients follows. The run's own gradients, buffers and chance stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Generator
from contextlib import closing
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from autotune.devices import CPU, Device
from autotune.studies.records import Gradient
from autotune.training.batch_size import of_two_sizes
from autotune.training.norms import gradients_of

BATCHES = 8  # of a measurement, the step's own among them
PLACES = 5  # measurements of a run

# Yields losses of other batches than a step's, at the weights of now: the step from 0, how many.
Elsewhere = Callable[[int, int], Generator[Tensor, None, None]]


def places(steps: int) -> tuple[int, ...]:
    """Return the steps of a run, from 0, at which its noise is measured: spread over it evenly.

    Example:
        >>> places(100)
        (10, 30, 50, 70, 90)
    """
    return tuple(dict.fromkeys(int((k + 0.5) / PLACES * steps) for k in range(PLACES)))


class NoiseMeter:
    """Follows an optimizer's steps, and measures at some of them.

    Args:
        optimizer: Its gradients, over all its parameters, are measured before its step.
        elsewhere: Gives the other batches.
        batch: Samples of a batch.
        at: Steps, from 0.
        start: Steps that were taken before.
        device: Where the model is.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        elsewhere: Elsewhere,
        batch: int,
        at: Collection[int],
        start: int = 0,
        device: Device = CPU,
    ) -> None:
        self._elsewhere, self._batch, self._at, self._device = elsewhere, batch, at, device
        self._step = start
        self._unread: list[tuple[int, int, Tensor]] = []
        optimizer.register_step_pre_hook(self._follow)

    def read(self) -> tuple[Gradient, ...]:
        """Return what was measured since the last call; waits for a device."""
        unread, self._unread = self._unread, []
        numbers = self._device.numbers([both for _, _, both in unread])
        pairs = zip(unread, numbers[::2], numbers[1::2], strict=True)
        return tuple(self._found(step, n, one, mean) for (step, n, _), one, mean in pairs)

    def _found(self, step: int, count: int, one: float, mean: float) -> Gradient:
        noise = of_two_sizes((self._batch, one), (count * self._batch, mean))
        finite = math.isfinite(noise.variance) and math.isfinite(noise.square)
        variance, square = (noise.variance, noise.square) if finite else (None, None)
        return Gradient(step=step, variance=variance, square=square)

    def _follow(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._step in self._at:
            self._measure(optimizer)
        self._step += 1

    def _measure(self, optimizer: Optimizer) -> None:
        params = [p for group in optimizer.param_groups for p in group["params"]]
        params = [p for p in params if p.grad is not None]
        own, scale = gradients_of(optimizer), getattr(optimizer, "grad_scale", None)
        total, squares = [g.clone() for g in own], [self._square(own)]
        # A step may run without gradients around it; these need theirs.
        with torch.enable_grad(), closing(self._others()) as losses:
            for loss in losses:
                other = _differentiated(loss, params, scale)
                squares.append(self._square(other))
                torch._foreach_add_(total, other)
        count = len(squares)
        if count > 1:
            mean = self._square(total) / count**2
            both = torch.stack([torch.stack(squares).mean(), mean])
            self._unread.append((self._step + 1, count, both))

    def _others(self) -> Generator[Tensor, None, None]:
        return self._elsewhere(self._step, BATCHES - 1)

    def _square(self, tensors: list[Tensor]) -> Tensor:
        """Return the squared norm of all tensors together, as precise as the device can."""
        each = [t.to(self._device.sum_dtype).square().sum() for t in tensors]
        return torch.stack(each).sum()


def _differentiated(loss: Tensor, params: list[Tensor], scale: Tensor | None) -> list[Tensor]:
    """Return the gradients of a loss; fp16 needs it scaled, as the step's own was."""
    if scale is None:
        return list(torch.autograd.grad(loss, params, materialize_grads=True))
    found = torch.autograd.grad(loss * scale, params, materialize_grads=True)
    return [g.float() / scale for g in found]
