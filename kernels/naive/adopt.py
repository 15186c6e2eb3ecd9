"""ADOPT, number by number: the first gradient is only squared."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.kernels.naive.win import Win


class ADOPT:
    """One tensor under ADOPT; ``betas`` are close to one."""

    def __init__(
        self,
        betas: tuple[float, float] = (0.9, 0.9999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        decay: str = "decoupled",
        clip_exponent: float | None = 0.25,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
    ) -> None:
        self.betas, self.eps, self.weight_decay, self.decay = betas, eps, weight_decay, decay
        self.clip_exponent = clip_exponent
        self.acceleration, self.gammas = acceleration, reckless_steps
        self.t = 0
        self.m: list[float] = []
        self.v: list[float] = []
        self.win: Win | None = None

    def step(self, p: Sequence[float], g: Sequence[float], lr: float, t: int = 0) -> list[float]:
        """Return the parameter after its next step; ``t`` is not used, each tensor counts."""
        inside = self.weight_decay if self.decay == "coupled" else 0.0
        g = [a + inside * b for a, b in zip(g, p, strict=True)]
        if self.win is None:
            self.m, self.v = [0.0] * len(p), [a**2 for a in g]
            self.win = Win(p, self.acceleration, self.gammas)
            return list(p)
        self.t += 1
        u = [self._update(i, a) for i, a in enumerate(g)]
        outside = self.weight_decay - inside
        if self.acceleration != "none":
            return self.win.move(p, u, lr, outside)
        return [a * (1 - lr * outside) - lr * b for a, b in zip(p, u, strict=True)]

    def _update(self, i: int, g: float) -> float:
        b1, b2 = self.betas
        scaled = g / max(math.sqrt(self.v[i]), self.eps)
        if self.clip_exponent is not None:
            bound = self.t**self.clip_exponent
            scaled = min(max(scaled, -bound), bound)
        self.m[i] = b1 * self.m[i] + (1 - b1) * scaled
        self.v[i] = b2 * self.v[i] + (1 - b2) * g**2
        return self.m[i]
