"""NAdam as torch has it, number by number; the product of momenta is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.kernels.naive.win import Win


class NAdamWTorch:
    """One tensor under NAdamWTorch; ``betas`` are close to one."""

    def __init__(
        self,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decay: str = "decoupled",
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
    ) -> None:
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.momentum_decay, self.decay = momentum_decay, decay
        self.acceleration, self.gammas = acceleration, reckless_steps
        self.t = 0
        self.product = 1.0
        self.m: list[float] = []
        self.v: list[float] = []
        self.win: Win | None = None

    def step(self, p: Sequence[float], g: Sequence[float], lr: float, t: int = 0) -> list[float]:
        """Return the parameter after its next step; ``t`` is not used, each tensor counts."""
        size = len(p)
        if self.win is None:
            self.m, self.v = [0.0] * size, [0.0] * size
            self.win = Win(p, self.acceleration, self.gammas)
        self.t += 1
        self.product *= self._momentum(self.t)
        l2 = self.weight_decay if self.decay == "coupled" else 0.0
        beside = self.weight_decay - l2
        u = [self._update(i, g[i] + l2 * p[i]) for i in range(size)]
        if self.acceleration != "none":
            return self.win.move(p, u, lr, beside)
        return [p[i] * (1 - lr * beside) - lr * u[i] for i in range(size)]

    def _update(self, i: int, g: float) -> float:
        b1, b2 = self.betas
        self.m[i] = b1 * self.m[i] + (1 - b1) * g
        self.v[i] = b2 * self.v[i] + (1 - b2) * g**2
        now, coming = self._momentum(self.t), self._momentum(self.t + 1)
        ahead = (1 - now) / (1 - self.product) * g
        ahead += coming / (1 - self.product * coming) * self.m[i]
        return ahead / (math.sqrt(self.v[i] / (1 - b2**self.t)) + self.eps)

    def _momentum(self, t: int) -> float:
        return float(self.betas[0] * (1 - 0.5 * 0.96 ** (t * self.momentum_decay)))
