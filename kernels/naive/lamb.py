"""LAMB, number by number; its norms are of the tensor the model uses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.kernels.naive.win import Win


class LAMB:
    """One tensor under LAMB; ``betas`` are close to one."""

    def __init__(
        self,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 1e-2,
        bias_correction: bool = True,
        grad_averaging: bool = True,
        trust_clip: bool = False,
        always_adapt: bool = False,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
    ) -> None:
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.bias_correction, self.grad_averaging = bias_correction, grad_averaging
        self.trust_clip, self.always_adapt = trust_clip, always_adapt
        self.acceleration, self.gammas = acceleration, reckless_steps
        self.m: list[float] = []
        self.v: list[float] = []
        self.win: Win | None = None

    def step(self, p: Sequence[float], g: Sequence[float], lr: float, t: int) -> list[float]:
        """Return the parameter after step ``t`` of its group."""
        if self.win is None:
            self.m, self.v = [0.0] * len(p), [0.0] * len(p)
            self.win = Win(p, self.acceleration, self.gammas)
        u = [self._update(i, g[i], t) + self.weight_decay * p[i] for i in range(len(p))]
        ratio = self._ratio(p, u)
        u = [ratio * b for b in u]
        if self.acceleration != "none":
            return self.win.move(p, u, lr, 0.0)
        return [a - lr * b for a, b in zip(p, u, strict=True)]

    def _update(self, i: int, g: float, t: int) -> float:
        b1, b2 = self.betas
        c1, c2 = (1 - b1**t, 1 - b2**t) if self.bias_correction else (1.0, 1.0)
        share = 1 - b1 if self.grad_averaging else 1.0
        self.m[i] = b1 * self.m[i] + share * g
        self.v[i] = b2 * self.v[i] + (1 - b2) * g**2
        return self.m[i] / c1 / (math.sqrt(self.v[i]) / math.sqrt(c2) + self.eps)

    def _ratio(self, p: Sequence[float], u: Sequence[float]) -> float:
        if self.weight_decay == 0 and not self.always_adapt:
            return 1.0
        size, step = math.sqrt(sum(a * a for a in p)), math.sqrt(sum(b * b for b in u))
        if size == 0 or step == 0:
            return 1.0
        return min(size / step, 1.0) if self.trust_clip else size / step
