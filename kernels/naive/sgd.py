"""SGD with momentum, number by number."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.kernels.naive.schedule_free import ScheduleFree
from autotune.kernels.naive.win import Win


class SGD:
    """One tensor under momentum; the first sum is the first gradient."""

    def __init__(
        self,
        momentum: float = 0.9,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = True,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
        r: float = 0.0,
        weight_lr_power: float = 2.0,
    ) -> None:
        self.momentum, self.dampening, self.nesterov = momentum, dampening, nesterov
        self.weight_decay, self.acceleration = weight_decay, acceleration
        self.gammas = reckless_steps
        self.sum: list[float] | None = None
        self.win: Win | None = None
        self.average = ScheduleFree(momentum, r, weight_lr_power)

    def step(self, p: Sequence[float], g: Sequence[float], lr: float, t: int = 0) -> list[float]:
        """Return the parameter after its next step; ``t`` is not used."""
        if self.acceleration == "none":
            g = [a + self.weight_decay * b for a, b in zip(g, p, strict=True)]
        if self.sum is None or self.win is None:
            self.win = Win(p, self.acceleration, self.gammas)
            self.sum = list(g)
        else:
            part = 1 - self.dampening
            self.sum = [self.momentum * b + part * a for a, b in zip(g, self.sum, strict=True)]
        if self.acceleration == "schedule-free":
            return self.average.move(p, g, lr, self.weight_decay)
        u = list(self.sum)
        if self.nesterov:
            u = [a + self.momentum * b for a, b in zip(g, self.sum, strict=True)]
        if self.acceleration == "none":
            return [a - lr * b for a, b in zip(p, u, strict=True)]
        return self.win.move(p, u, lr, self.weight_decay)
