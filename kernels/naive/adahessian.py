"""AdaHessian, number by number, given the probe's curvature of each element."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.kernels.naive.win import Win


class AdaHessian:
    """One tensor under AdaHessian; ``betas`` are close to one."""

    def __init__(
        self,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-4,
        weight_decay: float = 0.0,
        hessian_power: float = 1.0,
        block_sizes: Sequence[int] = (1, 1, 1, 0),
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
    ) -> None:
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.hessian_power, self.block_sizes = hessian_power, block_sizes
        self.acceleration, self.gammas = acceleration, reckless_steps
        self.t = 0
        self.m: list[float] = []
        self.h: list[float] = []
        self.win: Win | None = None

    def step(
        self,
        p: Sequence[float],
        g: Sequence[float],
        lr: float,
        t: int = 0,
        *,
        curvature: Sequence[float],
        shape: Sequence[int],
    ) -> list[float]:
        """Return the parameter after its next step; ``t`` is not used, each tensor counts."""
        if self.win is None:
            self.m, self.h = [0.0] * len(p), [0.0] * len(p)
            self.win = Win(p, self.acceleration, self.gammas)
        self.t += 1
        block = self._block(shape)
        means: list[float] = []
        for first in range(0, len(p), block):
            means += [sum(map(abs, curvature[first : first + block])) / block] * block
        u = [self._update(i, g[i], means[i]) for i in range(len(p))]
        if self.acceleration != "none":
            return self.win.move(p, u, lr, self.weight_decay)
        return [a * (1 - lr * self.weight_decay) - lr * b for a, b in zip(p, u, strict=True)]

    def _block(self, shape: Sequence[int]) -> int:
        given = self.block_sizes[len(shape) - 1] if 1 <= len(shape) <= 4 else 1
        if given:
            return given
        return (1, shape[-1], shape[-1], math.prod(shape[-2:]))[len(shape) - 1]

    def _update(self, i: int, g: float, curvature: float) -> float:
        b1, b2 = self.betas
        self.m[i] = b1 * self.m[i] + (1 - b1) * g
        self.h[i] = b2 * self.h[i] + (1 - b2) * curvature**2
        root = math.sqrt(self.h[i]) / math.sqrt(1 - b2**self.t)
        return self.m[i] / (1 - b1**self.t) / (math.pow(root, self.hessian_power) + self.eps)
