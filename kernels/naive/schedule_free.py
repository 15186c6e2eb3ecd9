"""Schedule-Free: base points take steps, their average is the result, gradients are between."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class ScheduleFree:
    """The three sequences of one tensor, all beginning at its first value.

    Args:
        beta: How near y is to the average.
        r: The weight of step t in the average is t^r times the largest lr so far to the power.
        power: That power.
        pace: What lr is multiplied by at a step.
    """

    def __init__(
        self, beta: float, r: float, power: float, pace: Callable[[int], float] = lambda t: 1.0
    ) -> None:
        self.beta, self.r, self.power, self.pace = beta, r, power, pace
        self.x: list[float] = []
        self.z: list[float] = []
        self.steps, self.largest, self.total = 0, 0.0, 0.0

    def move(
        self, y: Sequence[float], u: Sequence[float], lr: float, weight_decay: float, t: int = 0
    ) -> list[float]:
        """Return the new y after step ``t`` of its tensor; weights count those of the group."""
        if not self.x:
            self.x, self.z = list(y), list(y)
        weight = self._weight(lr)
        c = weight / self.total if self.total else 0.0
        lr, moved = lr * self.pace(t or self.steps), []
        for i, before in enumerate(y):
            self.z[i] -= lr * (u[i] + weight_decay * before)
            self.x[i] = (1 - c) * self.x[i] + c * self.z[i]
            moved.append(self.beta * self.x[i] + (1 - self.beta) * self.z[i])
        return moved

    def skip(self, lr: float) -> None:
        """Count a step of the group in which this tensor had no gradient."""
        self._weight(lr)

    def _weight(self, lr: float) -> float:
        self.steps += 1
        self.largest = max(self.largest, lr * self.pace(self.steps))
        weight: float = self.steps**self.r * self.largest**self.power
        self.total += weight
        return weight
