"""Filters of one tensor's gradients, number by number: MARS and Grokfast; and clipping by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol


class Filter(Protocol):
    """What makes a gradient depend on those before it."""

    def filtered(self, g: Sequence[float]) -> list[float]:
        """Return what the next gradient becomes."""


class Mars:
    """A share of the gradient's change on top, then a norm of 1 at most; ``b1`` is close to 1."""

    def __init__(self, gamma: float, b1: float) -> None:
        self.gain = gamma * b1 / (1 - b1)
        self.last: Sequence[float] = []

    def filtered(self, g: Sequence[float]) -> list[float]:
        """Return the next gradient corrected; before the first it was 0."""
        last = self.last or [0.0] * len(g)
        c = [a + self.gain * (a - b) for a, b in zip(g, last, strict=True)]
        self.last = list(g)
        return within(c, 1.0)


class Grokfast:
    """``lamb`` times an average on top, which keeps ``alpha`` and begins at the first gradient."""

    def __init__(self, alpha: float, lamb: float) -> None:
        self.alpha, self.lamb = alpha, lamb
        self.slow: list[float] = []

    def filtered(self, g: Sequence[float]) -> list[float]:
        """Return the next gradient amplified."""
        slow = self.slow or list(g)
        self.slow = [self.alpha * a + (1 - self.alpha) * b for a, b in zip(slow, g, strict=True)]
        return [a + self.lamb * b for a, b in zip(g, self.slow, strict=True)]


def within(g: Sequence[float], limit: float) -> list[float]:
    """Return a gradient whose norm is at most ``limit``."""
    norm = math.sqrt(sum(a * a for a in g))
    return [a * limit / norm for a in g] if norm > limit else list(g)
