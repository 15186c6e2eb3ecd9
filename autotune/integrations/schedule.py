"""The search's schedule as a class, for configurations that name one by its dotted path."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from autotune.errors import SpecError
from autotune.training.lr_schedule import multiplier


class WarmupCosine(LambdaLR):
    """Linear warm-up, whose first step is not at rate 0, then half a cosine down to zero.

    Step it after each optimizer step, not once an epoch.

    Args:
        optimizer: Its groups' learning rates are the peaks.
        steps: Optimizer steps of the whole run; the rate stays 0 after them.
        warmup: Fraction of them in which the rate rises.

    Raises:
        SpecError: ``steps`` is less than 1.
    """

    def __init__(self, optimizer: Optimizer, steps: int, warmup: float = 0.0) -> None:
        if steps < 1:
            raise SpecError(f"steps must be at least 1, got {steps}")
        self.steps, self.warmup = steps, warmup
        super().__init__(optimizer, self._factor)

    def _factor(self, step: int) -> float:
        return multiplier(min(step, self.steps), self.steps, self.warmup)
