"""AdaGrad, number by number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.kernels.naive.win import Win


class Adagrad:
    """One tensor under AdaGrad."""

    def __init__(
        self,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
    ) -> None:
        self.lr_decay, self.weight_decay, self.eps = lr_decay, weight_decay, eps
        self.first = initial_accumulator_value
        self.acceleration, self.gammas = acceleration, reckless_steps
        self.t = 0
        self.sum: list[float] = []
        self.win: Win | None = None

    def step(self, p: Sequence[float], g: Sequence[float], lr: float, t: int = 0) -> list[float]:
        """Return the parameter after its next step; ``t`` is not used, each tensor counts."""
        if self.win is None:
            self.sum = [self.first] * len(p)
            self.win = Win(p, self.acceleration, self.gammas)
        self.t += 1
        g = [a + self.weight_decay * b for a, b in zip(g, p, strict=True)]
        self.sum = [total + a**2 for total, a in zip(self.sum, g, strict=True)]
        share = 1 / (1 + (self.t - 1) * self.lr_decay)
        u = [
            share * a / (math.sqrt(total) + self.eps) for a, total in zip(g, self.sum, strict=True)
        ]
        if self.acceleration != "none":
            return self.win.move(p, u, lr, 0.0)
        return [a - lr * b for a, b in zip(p, u, strict=True)]
