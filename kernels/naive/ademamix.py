"""AdEMAMix, number by number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.kernels.naive.win import Win


class AdEMAMix:
    """One tensor under AdEMAMix; ``betas`` are close to one."""

    def __init__(
        self,
        betas: tuple[float, float, float] = (0.9, 0.999, 0.9999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        alpha: float = 2.0,
        alpha_warmup: int = 0,
        beta3_warmup: int = 0,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
    ) -> None:
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.alpha, self.alpha_warmup, self.beta3_warmup = alpha, alpha_warmup, beta3_warmup
        self.acceleration, self.gammas = acceleration, reckless_steps
        self.t = 0
        self.m: list[float] = []
        self.v: list[float] = []
        self.slow: list[float] = []
        self.win: Win | None = None

    def step(self, p: Sequence[float], g: Sequence[float], lr: float, t: int = 0) -> list[float]:
        """Return the parameter after its next step; ``t`` is not used, each tensor counts."""
        size = len(p)
        if self.win is None:
            self.m, self.v, self.slow = [0.0] * size, [0.0] * size, [0.0] * size
            self.win = Win(p, self.acceleration, self.gammas)
        self.t += 1
        u = [self._update(i, g[i]) for i in range(size)]
        if self.acceleration != "none":
            return self.win.move(p, u, lr, self.weight_decay)
        return [p[i] * (1 - lr * self.weight_decay) - lr * u[i] for i in range(size)]

    def _update(self, i: int, g: float) -> float:
        b1, b2, _ = self.betas
        b3, alpha = self._b3(), self.alpha
        if self.t < self.alpha_warmup:
            alpha *= self.t / self.alpha_warmup
        self.m[i] = b1 * self.m[i] + (1 - b1) * g
        self.slow[i] = b3 * self.slow[i] + (1 - b3) * g
        self.v[i] = b2 * self.v[i] + (1 - b2) * g**2
        means = self.m[i] / (1 - b1**self.t) + alpha * self.slow[i]
        return means / (math.sqrt(self.v[i] / (1 - b2**self.t)) + self.eps)

    def _b3(self) -> float:
        b1, _, b3 = self.betas
        if self.t >= self.beta3_warmup:
            return b3
        share = self.t / self.beta3_warmup
        begin, end = (math.log(0.5) / math.log(b + 1e-8) - 1 for b in (b1, b3))
        return float(0.5 ** (1 / (begin + share * (end - begin) + 1)))
