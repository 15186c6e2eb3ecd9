"""AdaGrad, number by number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.kernels.naive.win import Win


class Adagrad:
    """One tensor under AdaGrad."""

    def __init__(
        self,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        accumulate: str = "elements",
        momentum: float = 0.0,
        acceleration: str = "none",
        reckless_steps: tuple[float, float] = (2.0, 8.0),
    ) -> None:
        self.lr_decay, self.weight_decay, self.eps = lr_decay, weight_decay, eps
        self.first, self.momentum = initial_accumulator_value, momentum
        self.by_rows = accumulate == "rows"
        self.acceleration, self.gammas = acceleration, reckless_steps
        self.t = 0
        self.sum: list[float] = []
        self.mean: list[float] = []
        self.win: Win | None = None

    def step(
        self,
        p: Sequence[float],
        g: Sequence[float],
        lr: float,
        t: int = 0,
        *,
        squares: Sequence[float] = (),
    ) -> list[float]:
        """Return the parameter after its next step; ``squares`` are those of ``row_squares``.

        ``t`` is not used, each tensor counts.
        """
        if self.win is None:
            self.sum, self.mean = [self.first] * len(p), [0.0] * len(p)
            self.win = Win(p, self.acceleration, self.gammas)
        self.t += 1
        if not self.by_rows:
            g = [a + self.weight_decay * b for a, b in zip(g, p, strict=True)]
            squares = [a**2 for a in g]
        share = 1 / (1 + (self.t - 1) * self.lr_decay)
        u = [share * self._update(i, g[i], squares[i]) for i in range(len(p))]
        if self.acceleration != "none":
            return self.win.move(p, u, lr, 0.0)
        return [a - lr * b for a, b in zip(p, u, strict=True)]

    def _update(self, i: int, g: float, square: float) -> float:
        self.sum[i] += square
        divisor = math.sqrt(self.sum[i]) + self.eps
        if not self.by_rows:
            return g / divisor
        self.mean[i] = self.momentum * self.mean[i] + (1 - self.momentum) * g
        return self.mean[i] / divisor + self.weight_decay * g


def row_squares(
    grads: Sequence[Sequence[float] | None], shapes: Sequence[Sequence[int]]
) -> list[list[float] | None]:
    """Return what AdaGrad-Norm adds to each sum: a row's squares, or one's own and rows before."""
    found: list[list[float] | None] = []
    before: list[float] = []
    for g, shape in zip(grads, shapes, strict=True):
        if g is None:
            found.append(None)
        elif len(shape) in (2, 4):
            width = len(g) // shape[0]
            before = [sum(a**2 for a in g[k : k + width]) for k in range(0, len(g), width)]
            found.append([square for square in before for _ in range(width)])
        else:
            found.append([a**2 + b for a, b in zip(g, _of_bias(before, shape), strict=True)])
    return found


def _of_bias(before: Sequence[float], shape: Sequence[int]) -> list[float]:
    """Return the mean of each bias's part of the rows before; none where they cannot be cut."""
    if len(shape) != 1 or len(before) % shape[0]:
        return [0.0] * math.prod(shape)
    each = len(before) // shape[0]
    return [sum(before[k * each : (k + 1) * each]) / max(each, 1) for k in range(shape[0])]
