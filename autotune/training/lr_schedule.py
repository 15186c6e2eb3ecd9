"""The learning-rate schedule of every run: linear warm-up, then half a cosine down to zero."""

from __future__ import annotations

import math

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


def schedule(optimizer: Optimizer, steps: int, warmup: float, start: int = 0) -> LambdaLR:
    """Return the schedule over ``steps`` optimizer steps, for loops that step it themselves.

    It stands at step ``start``; a state of the optimizer may be loaded before or after.
    """
    for group in optimizer.param_groups if start else ():
        group.setdefault("initial_lr", group["lr"])
    return LambdaLR(
        optimizer, lambda step: multiplier(min(step, steps), steps, warmup), last_epoch=start - 1
    )
