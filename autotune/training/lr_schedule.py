"""The learning-rate schedule of every run: linear warm-up, then half a cosine down to zero.

Optimizers that average instead, as Schedule-Free's, stay at the peak after the warm-up.
"""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from autotune.optimizers.forms import has_modes


def multiplier(step: int, steps: int, warmup: float, shape: str = "cosine") -> float:
    """Return the factor on the peak learning rate at ``step`` (from 0) of ``steps``.

    ``warmup`` is a fraction of the schedule: w steps. No step has rate 0: the first step has
    1/(w + 1) of the peak, and the cosine would reach 0 only at ``steps``, after the last step.
    ``shape``: 'cosine', or 'constant' to stay at the peak.
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    if shape == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def shape_of(optimizer: Optimizer) -> str:
    """Return what an optimizer's learning rate does after its warm-up: see ``multiplier``.

    Other people's optimizers that average, which ``train()`` and ``eval()`` tell, need a constant
    one too. What holds another as ``optimizer`` is asked for that: accelerate's wrapper has both
    methods, whatever it wraps.
    """
    while isinstance(getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = optimizer.optimizer  # type: ignore[attr-defined]
    own = getattr(optimizer, "schedule", None)
    if own in ("cosine", "constant"):
        return str(own)
    return "constant" if has_modes(optimizer) else "cosine"


def schedule(optimizer: Optimizer, steps: int, warmup: float, start: int = 0) -> LambdaLR:
    """Return the schedule over ``steps`` optimizer steps, for loops that step it themselves.

    It stands at step ``start``; a state of the optimizer may be loaded before or after.
    """
    for group in optimizer.param_groups if start else ():
        group.setdefault("initial_lr", group["lr"])
    shape = shape_of(optimizer)
    return LambdaLR(
        optimizer,
        lambda step: multiplier(min(step, steps), steps, warmup, shape),
        last_epoch=start - 1,
    )
