"""Win and Win2: one proximal step, then one or two reckless points pulled towards it."""

from __future__ import annotations

from collections.abc import Sequence


class Win:
    """The sequences of one tensor, all beginning at its first value."""

    def __init__(self, first: Sequence[float], mode: str, gammas: tuple[float, float]) -> None:
        self.x, self.y = list(first), list(first)
        self.mode, self.gammas = mode, gammas

    def move(
        self, p: Sequence[float], u: Sequence[float], lr: float, weight_decay: float
    ) -> list[float]:
        """Return the new parameter: y for Win, z for Win2."""
        one, two = self.gammas
        moved = []
        for i, z in enumerate(p):
            self.x[i] = (self.x[i] - lr * u[i]) / (1 + lr * weight_decay)
            tau_y = 1 / (1 + one + one * lr * weight_decay)
            y = z if self.mode == "win" else self.y[i]
            self.y[i] = tau_y * (y + one * self.x[i] - one * lr * u[i])
            tau_z = 1 / (1 + two + two / one + two * lr * weight_decay)
            reckless = tau_z * (z + two * self.x[i] + two / one * self.y[i] - two * lr * u[i])
            moved.append(self.y[i] if self.mode == "win" else reckless)
        return moved
