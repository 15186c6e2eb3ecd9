"""Lion, number by number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.kernels.naive.caution import decays, masked
from autotune.kernels.naive.win import Win


class Lion:
    """One tensor under Lion; ``betas`` are close to one."""

    def __init__(
        self,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        cautious: bool = False,
        cautious_factor: float = 0.0,
        cautious_decay: bool = False,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
    ) -> None:
        self.cautious, self.cautious_decay = cautious, cautious_decay
        self.cautious_factor = cautious_factor
        self.betas, self.weight_decay = betas, weight_decay
        self.acceleration, self.gammas = acceleration, reckless_steps
        self.t = 0
        self.m: list[float] = []
        self.win: Win | None = None

    def step(self, p: Sequence[float], g: Sequence[float], lr: float, t: int = 0) -> list[float]:
        """Return the parameter after its next step; ``t`` is not used, each tensor counts."""
        size = len(p)
        if self.win is None:
            self.m = [0.0] * size
            self.win = Win(p, self.acceleration, self.gammas)
        self.t += 1
        u = [self._update(i, g[i]) for i in range(size)]
        if self.cautious:
            u = masked(u, g, self.cautious_factor, 1e-5)
        if self.acceleration != "none":
            return self.win.move(p, u, lr, self.weight_decay)
        decay = decays(p, u, self.weight_decay, cautious=self.cautious_decay)
        return [p[i] * (1 - lr * decay[i]) - lr * u[i] for i in range(size)]

    def _update(self, i: int, g: float) -> float:
        b1, b2 = self.betas
        ahead = b1 * self.m[i] + (1 - b1) * g
        self.m[i] = b2 * self.m[i] + (1 - b2) * g
        return math.copysign(1.0, ahead) if ahead else 0.0
