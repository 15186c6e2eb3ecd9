"""Caution, number by number: masks of updates and of weight decay."""

from __future__ import annotations

from collections.abc import Sequence


def masked(
    u: Sequence[float], g: Sequence[float], factor: float = 0.0, floor: float = 1e-3
) -> list[float]:
    """Return an update without, or with little of, what goes against the gradient."""
    mask = [1.0 if a * b > 0 else factor for a, b in zip(u, g, strict=True)]
    mean = max(sum(mask) / len(mask), floor) if mask else 1.0
    return [a * b / mean for a, b in zip(u, mask, strict=True)]


def decays(
    p: Sequence[float], u: Sequence[float], weight_decay: float, *, cautious: bool
) -> list[float]:
    """Return the decay of each element: 0 of those that an update lets grow."""
    return [0.0 if cautious and a * b < 0 else weight_decay for a, b in zip(p, u, strict=True)]
