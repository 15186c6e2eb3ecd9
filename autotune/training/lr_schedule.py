"""The learning-rate schedule of every run: a linear warm-up, then half a cosine towards zero.

Optimizers that average weights instead, such as Schedule-Free's, stay at the peak after the
warm-up. A refined schedule replaces both by a table of factors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from autotune.optimizers.forms import has_modes


def multiplier(
    step: int, steps: int, warmup: float, shape: str = "cosine", table: Sequence[float] = ()
) -> float:
    """Return the factor on the peak learning rate at a step.

    No step has rate 0: with a warm-up of w steps, the first has 1/(w + 1) of the peak, and the
    cosine would reach 0 one step after the last.

    Args:
        step: From 0.
        steps: Of the whole run.
        warmup: The part of them that is warm-up, 0 to 1.
        shape: What follows it: "cosine", or "constant" to stay at the peak.
        table: Factors over the run, instead of warm-up and shape: see ``interpolated``.

    Example:
        >>> [round(multiplier(step, 5, 0.2), 2) for step in range(5)]
        [0.5, 1.0, 0.85, 0.5, 0.15]
    """
    if table:
        return interpolated(table, step, steps)
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    if shape == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def interpolated(table: Sequence[float], step: int, steps: int) -> float:
    """Return a table's factor at ``step`` (from 0) of ``steps``, linearly between its values.

    They lie at equal distances over the run: the first is the first step's, the last the last's.

    Example:
        >>> [interpolated([1.0, 0.5, 0.0], step, 5) for step in range(5)]
        [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    place = min(step / max(1, steps - 1), 1.0) * (len(table) - 1)
    below = min(int(place), len(table) - 2)
    part = place - below
    return (1 - part) * table[below] + part * table[below + 1]


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


def schedule(
    optimizer: Optimizer,
    steps: int,
    warmup: float,
    start: int = 0,
    table: Sequence[float] = (),
) -> LambdaLR:
    """Return the schedule of an optimizer, for loops that step it themselves.

    A state of the optimizer may be loaded before or after.

    Args:
        optimizer: Whose rates it sets; ``shape_of`` tells what follows the warm-up.
        steps: Optimizer steps of the whole run; after a cosine, the rate of any later one is 0.
        warmup: As ``multiplier`` takes it.
        start: The step at which it stands.
        table: As ``multiplier`` takes it.
    """
    for group in optimizer.param_groups if start else ():
        group.setdefault("initial_lr", group["lr"])
    shape = shape_of(optimizer)
    return LambdaLR(
        optimizer,
        lambda step: multiplier(min(step, steps), steps, warmup, shape, table),
        last_epoch=start - 1,
    )
