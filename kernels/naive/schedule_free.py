"""Schedule-Free: base points take steps, their average is the result, gradients are between."""

from __future__ import annotations

from collections.abc import Sequence


class ScheduleFree:
    """The three sequences of one tensor, all beginning at its first value.

    Args:
        beta: How near y is to the average.
        r: The weight of step t in the average is t^r times the largest lr so far to the power.
        power: That power.
    """

    def __init__(self, beta: float, r: float, power: float) -> None:
        self.beta, self.r, self.power = beta, r, power
        self.x: list[float] = []
        self.z: list[float] = []
        self.steps, self.largest, self.total = 0, 0.0, 0.0

    def move(
        self, y: Sequence[float], u: Sequence[float], lr: float, weight_decay: float
    ) -> list[float]:
        """Return the new y. Steps are counted as the group's: see ``skip``."""
        if not self.x:
            self.x, self.z = list(y), list(y)
        self.steps += 1
        self.largest = max(self.largest, lr)
        weight = self.steps**self.r * self.largest**self.power
        self.total += weight
        c = weight / self.total if self.total else 0.0
        moved = []
        for i, before in enumerate(y):
            self.z[i] -= lr * (u[i] + weight_decay * before)
            self.x[i] = (1 - c) * self.x[i] + c * self.z[i]
            moved.append(self.beta * self.x[i] + (1 - self.beta) * self.z[i])
        return moved

    def skip(self, lr: float) -> None:
        """Count a step of the group in which this tensor had no gradient."""
        self.steps += 1
        self.largest = max(self.largest, lr)
        self.total += self.steps**self.r * self.largest**self.power
