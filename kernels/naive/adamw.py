"""AdamW, number by number: decay beside the gradient, ``eps`` after bias correction."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.kernels.naive.caution import decays, masked
from autotune.kernels.naive.coord_clip import clipped
from autotune.kernels.naive.schedule_free import ScheduleFree
from autotune.kernels.naive.win import Win


class AdamW:
    """One tensor under AdamW; ``betas`` are close to one."""

    def __init__(
        self,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
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
        self.amsgrad, self.acceleration, self.gammas = amsgrad, acceleration, reckless_steps
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
        u = [self._update(i, g[i]) for i in range(size)]
        if self.update_clip:
            u = clipped(u, self.update_clip)
        if self.acceleration == "schedule-free":
            return self.average.move(p, u, lr, self.weight_decay)
        if self.cautious:
            u = masked(u, g)
        if self.acceleration != "none":
            return self.win.move(p, u, lr, self.weight_decay)
        decay = decays(p, u, self.weight_decay, cautious=self.cautious_decay)
        return [p[i] * (1 - lr * decay[i]) - lr * u[i] for i in range(size)]

    def _update(self, i: int, g: float) -> float:
        b1, b2 = self.betas
        if self.acceleration == "schedule-free":  # whose own average takes its place
            b1 = 0.0
        self.m[i] = b1 * self.m[i] + (1 - b1) * g
        self.v[i] = b2 * self.v[i] + (1 - b2) * g**2
        self.largest[i] = max(self.largest[i], self.v[i])
        v = self.largest[i] if self.amsgrad else self.v[i]
        mean = self.m[i] / (1 - b1**self.t)
        return mean / (math.sqrt(v) / math.sqrt(1 - b2**self.t) + self.eps)
