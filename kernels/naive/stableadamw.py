"""StableAdamW, number by number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.kernels.naive.win import Win


class StableAdamW:
    """One tensor under StableAdamW; ``betas`` are close to one."""

    def __init__(
        self,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-6,
        weight_decay: float = 1e-2,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
    ) -> None:
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.acceleration, self.gammas = acceleration, reckless_steps
        self.m: list[float] = []
        self.v: list[float] = []
        self.win: Win | None = None

    def step(self, p: Sequence[float], g: Sequence[float], lr: float, t: int) -> list[float]:
        """Return the parameter after step ``t`` of its group."""
        if self.win is None:
            self.m, self.v = [0.0] * len(p), [0.0] * len(p)
            self.win = Win(p, self.acceleration, self.gammas)
        b1, b2 = self.betas
        self.m = [b1 * m + (1 - b1) * a for m, a in zip(self.m, g, strict=True)]
        self.v = [b2 * v + (1 - b2) * a**2 for v, a in zip(self.v, g, strict=True)]
        mean = [m / (1 - b1**t) for m in self.m]
        square = [v / (1 - b2**t) for v in self.v]
        surprises = [a**2 / max(v, self.eps**2) for a, v in zip(g, square, strict=True)]
        rms = math.sqrt(sum(surprises) / len(g)) if g else 1.0
        lr = lr / max(1.0, rms)
        u = [m / (math.sqrt(v) + self.eps) for m, v in zip(mean, square, strict=True)]
        if self.acceleration == "none":
            return [a * (1 - lr * self.weight_decay) - lr * b for a, b in zip(p, u, strict=True)]
        u = [(b + self.weight_decay * a) / max(1.0, rms) for a, b in zip(p, u, strict=True)]
        return self.win.move(p, u, lr * max(1.0, rms), 0.0)
