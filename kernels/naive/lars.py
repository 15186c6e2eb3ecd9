"""LARS, number by number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.kernels.naive.win import Win


class LARS:
    """One tensor under LARS; the first sum is the first scaled gradient."""

    def __init__(
        self,
        momentum: float = 0.9,
        dampening: float = 0.0,
        weight_decay: float = 1e-4,
        nesterov: bool = False,
        trust_coeff: float = 1e-3,
        eps: float = 1e-8,
        trust_clip: bool = False,
        always_adapt: bool = False,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
    ) -> None:
        self.momentum, self.dampening, self.nesterov = momentum, dampening, nesterov
        self.weight_decay, self.trust_coeff, self.eps = weight_decay, trust_coeff, eps
        self.trust_clip, self.always_adapt = trust_clip, always_adapt
        self.acceleration, self.gammas = acceleration, reckless_steps
        self.sum: list[float] | None = None
        self.win: Win | None = None

    def step(self, p: Sequence[float], g: Sequence[float], lr: float, t: int = 0) -> list[float]:
        """Return the parameter after its next step; ``t`` is not used."""
        if self.weight_decay != 0 or self.always_adapt:
            r = self._rate(p, g, lr)
            g = [r * (a + self.weight_decay * b) for a, b in zip(g, p, strict=True)]
        u = self._summed(g) if self.momentum else list(g)
        if self.win is None:
            self.win = Win(p, self.acceleration, self.gammas)
        if self.acceleration == "none":
            return [a - lr * b for a, b in zip(p, u, strict=True)]
        return self.win.move(p, u, lr, 0.0)

    def _rate(self, p: Sequence[float], g: Sequence[float], lr: float) -> float:
        size, slope = math.sqrt(sum(a * a for a in p)), math.sqrt(sum(b * b for b in g))
        r = 1.0
        if size > 0 and slope > 0:
            r = self.trust_coeff * size / (slope + self.weight_decay * size + self.eps)
        return min(r / lr, 1.0) if self.trust_clip else r

    def _summed(self, g: Sequence[float]) -> list[float]:
        if self.sum is None:
            self.sum = list(g)
        else:
            part = 1 - self.dampening
            self.sum = [self.momentum * b + part * a for a, b in zip(g, self.sum, strict=True)]
        if not self.nesterov:
            return list(self.sum)
        return [a + self.momentum * b for a, b in zip(g, self.sum, strict=True)]
