"""Adam, number by number: L2 in the gradient, ``eps`` before bias correction or after."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.kernels.naive.schedule_free import ScheduleFree
from autotune.kernels.naive.win import Win


class Adam:
    """One tensor under Adam; ``betas`` are close to one."""

    def __init__(
        self,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        eps_after_correction: bool = False,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
        r: float = 0.0,
        weight_lr_power: float = 2.0,
    ) -> None:
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.amsgrad, self.acceleration, self.gammas = amsgrad, acceleration, reckless_steps
        self.after = eps_after_correction
        self.t = 0
        self.m: list[float] = []
        self.v: list[float] = []
        self.largest: list[float] = []
        self.win: Win | None = None
        self.average = ScheduleFree(betas[0], r, weight_lr_power)

    def step(self, p: Sequence[float], g: Sequence[float], lr: float, t: int = 0) -> list[float]:
        """Return the parameter after its next step; ``t`` is not used, each tensor counts."""
        size = len(p)
        if self.win is None:
            self.m, self.v, self.largest = [0.0] * size, [0.0] * size, [0.0] * size
            self.win = Win(p, self.acceleration, self.gammas)
        self.t += 1
        u = [self._update(i, g[i] + self.weight_decay * p[i]) for i in range(size)]
        if self.acceleration == "schedule-free":
            return self.average.move(p, u, lr, 0.0)
        if self.acceleration != "none":
            return self.win.move(p, u, lr, 0.0)
        return [p[i] - lr * u[i] for i in range(size)]

    def _update(self, i: int, g: float) -> float:
        b1, b2 = self.betas
        if self.acceleration == "schedule-free":  # whose own average takes its place
            b1 = 0.0
        self.m[i] = b1 * self.m[i] + (1 - b1) * g
        self.v[i] = b2 * self.v[i] + (1 - b2) * g**2
        self.largest[i] = max(self.largest[i], self.v[i])
        v = self.largest[i] if self.amsgrad else self.v[i]
        if self.after:
            mean = self.m[i] / (1 - b1**self.t)
            return mean / (math.sqrt(v / (1 - b2**self.t)) + self.eps)
        correction = math.sqrt(1 - b2**self.t) / (1 - b1**self.t)
        return self.m[i] / (math.sqrt(v) + self.eps) * correction
