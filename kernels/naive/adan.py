"""Adan, number by number, with the start-up of its authors' code."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.kernels.naive.caution import decays, masked
from autotune.kernels.naive.coord_clip import clipped
from autotune.kernels.naive.schedule_free import ScheduleFree
from autotune.kernels.naive.win import Win


class Adan:
    """One tensor under Adan; ``betas`` are close to one."""

    def __init__(
        self,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decay: str = "proximal",
        cautious: bool = False,
        cautious_decay: bool = False,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        update_clip: float = 0.0,
    ) -> None:
        self.cautious, self.cautious_decay = cautious, cautious_decay
        self.update_clip = update_clip
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.decay, self.acceleration, self.gammas = decay, acceleration, reckless_steps
        self.previous: list[float] | None = None
        self.m: list[float] = []
        self.v: list[float] = []
        self.n: list[float] = []
        self.win: Win | None = None
        self.average = ScheduleFree(betas[0], r, weight_lr_power)

    def restart(self) -> None:
        """Set the moments back to zero."""
        self.m, self.v, self.n = [], [], []

    def step(self, p: Sequence[float], g: Sequence[float], lr: float, t: int) -> list[float]:
        """Return the parameter after step ``t`` of its group."""
        size = len(p)
        if not self.m:
            self.m, self.v, self.n = [0.0] * size, [0.0] * size, [0.0] * size
        if self.previous is None or t == 1:
            self.previous = list(g)
        if self.win is None:
            self.win = Win(p, self.acceleration, self.gammas)
        u = [self._update(i, g[i], t) for i in range(size)]
        self.previous = list(g)
        if self.update_clip:
            u = clipped(u, self.update_clip)
        if self.acceleration == "schedule-free":
            return self.average.move(p, u, lr, self.weight_decay)
        if self.cautious:
            u = masked(u, g)
        if self.acceleration != "none":
            return self.win.move(p, u, lr, self.weight_decay)
        decay = decays(p, u, self.weight_decay, cautious=self.cautious_decay)
        if self.decay == "proximal":
            return [(p[i] - lr * u[i]) / (1 + lr * decay[i]) for i in range(size)]
        return [p[i] * (1 - lr * decay[i]) - lr * u[i] for i in range(size)]

    def _update(self, i: int, g: float, t: int) -> float:
        b1, b2, b3 = self.betas
        if self.acceleration == "schedule-free":  # whose own average takes its place
            b1 = 0.0
        difference = g - self.previous[i] if self.previous else 0.0
        self.m[i] = b1 * self.m[i] + (1 - b1) * g
        self.v[i] = b2 * self.v[i] + (1 - b2) * difference
        self.n[i] = b3 * self.n[i] + (1 - b3) * (g + b2 * difference) ** 2
        mean = self.m[i] / (1 - b1**t) + b2 * self.v[i] / (1 - b2**t)
        return mean / (math.sqrt(self.n[i]) / math.sqrt(1 - b3**t) + self.eps)
