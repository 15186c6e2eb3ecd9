"""AdaBelief, number by number, as its authors' package 0.2.1 computes it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.kernels.naive.win import Win


class AdaBelief:
    """One tensor under AdaBelief; ``betas`` are close to one."""

    def __init__(
        self,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: float = 0.0,
        decay: str = "decoupled",
        rectify: bool = True,
        degenerated_to_sgd: bool = True,
        amsgrad: bool = False,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
    ) -> None:
        self.betas, self.eps, self.weight_decay, self.decay = betas, eps, weight_decay, decay
        self.rectify, self.degenerated_to_sgd, self.amsgrad = rectify, degenerated_to_sgd, amsgrad
        self.acceleration, self.gammas = acceleration, reckless_steps
        self.t = 0
        self.m: list[float] = []
        self.s: list[float] = []
        self.largest: list[float] = []
        self.win: Win | None = None

    def step(self, p: Sequence[float], g: Sequence[float], lr: float, t: int = 0) -> list[float]:
        """Return the parameter after its next step; ``t`` is not used, each tensor counts."""
        size = len(p)
        if self.win is None:
            self.m, self.s, self.largest = [0.0] * size, [0.0] * size, [0.0] * size
            self.win = Win(p, self.acceleration, self.gammas)
        self.t += 1
        inside = self.weight_decay if self.decay == "coupled" else 0.0
        u = [self._update(i, g[i] + inside * p[i]) for i in range(size)]
        outside = self.weight_decay - inside
        if self.acceleration != "none":
            return self.win.move(p, u, lr, outside)
        shrunk = 1 - outside * (1.0 if self.decay == "fixed" else lr)
        return [p[i] * shrunk - lr * u[i] for i in range(size)]

    def _update(self, i: int, g: float) -> float:
        b1, b2 = self.betas
        self.m[i] = b1 * self.m[i] + (1 - b1) * g
        self.s[i] = b2 * self.s[i] + (1 - b2) * (g - self.m[i]) ** 2 + self.eps
        self.largest[i] = max(self.largest[i], self.s[i])
        if self.rectify:
            return self._rectified(self.m[i], self.s[i])
        s = self.largest[i] if self.amsgrad else self.s[i]
        mean = self.m[i] / (1 - b1**self.t)
        return mean / (math.sqrt(s) / math.sqrt(1 - b2**self.t) + self.eps)

    def _rectified(self, m: float, s: float) -> float:
        b1, b2 = self.betas
        most = 2 / (1 - b2) - 1
        now = most - 2 * self.t * b2**self.t / (1 - b2**self.t)
        if now < 5:
            return m / (1 - b1**self.t) if self.degenerated_to_sgd else 0.0
        share = (now - 4) / (most - 4) * (now - 2) / now * most / (most - 2)
        scale = math.sqrt((1 - b2**self.t) * share) / (1 - b1**self.t)
        return scale * m / (math.sqrt(s) + self.eps)
