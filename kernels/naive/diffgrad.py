"""diffGrad, number by number: its authors' second version, or the published one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.kernels.naive.win import Win


class DiffGrad:
    """One tensor under diffGrad; ``betas`` are close to one."""

    def __init__(
        self,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        as_published: bool = False,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
    ) -> None:
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.as_published, self.acceleration = as_published, acceleration
        self.gammas = reckless_steps
        self.t = 0
        self.m: list[float] = []
        self.v: list[float] = []
        self.previous: list[float] = []
        self.win: Win | None = None

    def step(self, p: Sequence[float], g: Sequence[float], lr: float, t: int = 0) -> list[float]:
        """Return the parameter after its next step; ``t`` is not used, each tensor counts."""
        size = len(p)
        if self.win is None:
            self.m, self.v, self.previous = [0.0] * size, [0.0] * size, [0.0] * size
            self.win = Win(p, self.acceleration, self.gammas)
        self.t += 1
        g = [g[i] + self.weight_decay * p[i] for i in range(size)]
        u = [self._update(i, g[i]) for i in range(size)]
        self.previous = g
        if self.acceleration != "none":
            return self.win.move(p, u, lr, 0.0)
        return [p[i] - lr * u[i] for i in range(size)]

    def _update(self, i: int, g: float) -> float:
        b1, b2 = self.betas
        self.m[i] = b1 * self.m[i] + (1 - b1) * g
        self.v[i] = b2 * self.v[i] + (1 - b2) * g**2
        change = abs(self.previous[i] - g)
        if self.as_published and self.t > 1:
            change = 0.0
        friction = 1 / (1 + math.exp(-change))
        correction = math.sqrt(1 - b2**self.t) / (1 - b1**self.t)
        return friction * self.m[i] / (math.sqrt(self.v[i]) + self.eps) * correction
