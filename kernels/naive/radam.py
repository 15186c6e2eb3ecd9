"""RAdam, number by number; the branch is taken as the paper writes it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.kernels.naive.schedule_free import ScheduleFree
from autotune.kernels.naive.win import Win


class RAdam:
    """One tensor under RAdam; ``betas`` are close to one."""

    def __init__(
        self,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decay: str = "decoupled",
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
        r: float = 0.0,
        weight_lr_power: float = 2.0,
    ) -> None:
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.decay = decay
        self.acceleration, self.gammas = acceleration, reckless_steps
        self.t = 0
        self.m: list[float] = []
        self.v: list[float] = []
        self.win: Win | None = None
        self.average = ScheduleFree(betas[0], r, weight_lr_power, self._pace)

    def step(self, p: Sequence[float], g: Sequence[float], lr: float, t: int = 0) -> list[float]:
        """Return the parameter after its next step; ``t`` is not used, each tensor counts."""
        size = len(p)
        if self.win is None:
            self.m, self.v = [0.0] * size, [0.0] * size
            self.win = Win(p, self.acceleration, self.gammas)
        self.t += 1
        l2 = self.weight_decay if self.decay == "coupled" else 0.0
        beside = self.weight_decay - l2
        if self.acceleration == "schedule-free":
            return self._averaged(p, g, lr, l2, beside)
        u = [self._update(i, g[i] + l2 * p[i]) for i in range(size)]
        if self.acceleration != "none":
            return self.win.move(p, u, lr, beside)
        return [p[i] * (1 - lr * beside) - lr * u[i] for i in range(size)]

    def _averaged(
        self, p: Sequence[float], g: Sequence[float], lr: float, l2: float, beside: float
    ) -> list[float]:
        """Return the parameter by plain gradients, along a learning rate that is rectified."""
        b2, u = self.betas[1], []
        for i, value in enumerate(p):
            one = g[i] + l2 * value
            self.v[i] = b2 * self.v[i] + (1 - b2) * one**2
            u.append(one / (math.sqrt(self.v[i]) / math.sqrt(1 - b2**self.t) + self.eps))
        return self.average.move(p, u, lr, beside, self.t)

    def _pace(self, t: int) -> float:
        b2 = self.betas[1]
        most = 2 / (1 - b2) - 1
        length = most - 2 * t * b2**t / (1 - b2**t)
        short = (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)
        return math.sqrt(short) if length > 4 else 0.0

    def _update(self, i: int, g: float) -> float:
        b1, b2 = self.betas
        self.m[i] = b1 * self.m[i] + (1 - b1) * g
        self.v[i] = b2 * self.v[i] + (1 - b2) * g**2
        mean = self.m[i] / (1 - b1**self.t)
        most = 2 / (1 - b2) - 1
        length = most - 2 * self.t * b2**self.t / (1 - b2**self.t)
        if length <= 5:
            return mean
        short = (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)
        return (
            math.sqrt(short) * mean * math.sqrt(1 - b2**self.t) / (math.sqrt(self.v[i]) + self.eps)
        )
