"""LAMB of its paper's third version, number by number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.kernels.naive.win import Win


class LAMBv3:
    """One tensor under LAMB without bias correction; ``betas`` are close to one."""

    def __init__(
        self,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        clamp: float = 10.0,
        adam: bool = False,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
    ) -> None:
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.clamp, self.adam = clamp, adam
        self.acceleration, self.gammas = acceleration, reckless_steps
        self.m: list[float] = []
        self.v: list[float] = []
        self.win: Win | None = None

    def step(self, p: Sequence[float], g: Sequence[float], lr: float, t: int = 0) -> list[float]:
        """Return the parameter after its next step; ``t`` is not used."""
        if self.win is None:
            self.m, self.v = [0.0] * len(p), [0.0] * len(p)
            self.win = Win(p, self.acceleration, self.gammas)
        u = [self._update(i, g[i]) + self.weight_decay * p[i] for i in range(len(p))]
        ratio = 1.0 if self.adam else self._ratio(p, u)
        u = [ratio * b for b in u]
        if self.acceleration != "none":
            return self.win.move(p, u, lr, 0.0)
        return [a - lr * b for a, b in zip(p, u, strict=True)]

    def _update(self, i: int, g: float) -> float:
        b1, b2 = self.betas
        self.m[i] = b1 * self.m[i] + (1 - b1) * g
        self.v[i] = b2 * self.v[i] + (1 - b2) * g**2
        return self.m[i] / (math.sqrt(self.v[i]) + self.eps)

    def _ratio(self, p: Sequence[float], u: Sequence[float]) -> float:
        size, step = math.sqrt(sum(a * a for a in p)), math.sqrt(sum(b * b for b in u))
        return min(size, self.clamp) / step if size and step and self.clamp else 1.0
