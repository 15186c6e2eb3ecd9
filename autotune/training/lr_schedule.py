"""The learning-rate schedule of every run: linear warm-up, then half a cosine down to zero."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from autotune.errors import SpecError

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR


def multiplier(step: int, steps: int, warmup: float) -> float:
    """Return the factor on the peak learning rate at ``step`` (from 0) of ``steps``.

    ``warmup`` is a fraction of the schedule: w steps. No step has rate 0: the first step has
    1/(w + 1) of the peak, and the cosine would reach 0 only at ``steps``, after the last step.
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def scheduler(optimizer: Optimizer, steps: int, warmup: float) -> LambdaLR:
    """Return the schedule over ``steps`` optimizer steps; call its ``step`` after each of them.

    Args:
        optimizer: Its groups' learning rates are the peaks.
        steps: Of the whole run; the rate stays 0 after them.
        warmup: Fraction of them in which the rate rises.

    Raises:
        SpecError: ``steps`` is less than 1.
    """
    from torch.optim.lr_scheduler import LambdaLR

    if steps < 1:
        raise SpecError(f"steps must be at least 1, got {steps}")
    return LambdaLR(optimizer, lambda step: multiplier(min(step, steps), steps, warmup))
