"""How long the steps and evaluations of a study take, without what happens only once.

The first steps of a process import, compile and fill caches. Counted as a part of every full run,
they would make a budget look too small for anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median_low

RECENT = 64  # newest measurements that count: a search may go on on another machine
SLOW = 5  # a stretch that is so many times slower than usual compiled, imported or waited

Stretch = tuple[float, int]  # seconds, and the steps taken in them


def _recent() -> deque[Stretch]:
    return deque(maxlen=RECENT)


@dataclass(kw_only=True)
class Pace:
    """The newest measured stretches of a study's training, apart from those that evaluated."""

    plain: deque[Stretch] = field(default_factory=_recent)
    evaluated: deque[Stretch] = field(default_factory=_recent)

    _usual: tuple[float, float] | None = field(default=None, repr=False, compare=False)

    def add(self, seconds: float, steps: int, *, evaluated: bool) -> None:
        """Add a stretch of steps, which ended with an evaluation or not."""
        (self.evaluated if evaluated else self.plain).append((seconds, steps))
        self._usual = None

    def run(self, steps: int, evaluations: int) -> float | None:
        """Return the seconds of training ``steps`` steps; None if nothing was measured."""
        if not self.plain and not self.evaluated:
            return None
        if self._usual is None:  # asked for many times between two measurements
            self._usual = self._measured()
        step, evaluation = self._usual
        return step * steps + evaluation * evaluations

    def _measured(self) -> tuple[float, float]:
        """Return the seconds of a step and, where steps were timed alone, of an evaluation."""
        if not self.plain:
            return per_step(self.evaluated), 0.0
        step = per_step(self.plain)
        extra = [(max(0.0, seconds - step * count), 1) for seconds, count in self.evaluated]
        return step, per_step(extra) if extra else 0.0


def per_step(stretches: Sequence[Stretch]) -> float:
    """Return the seconds of a step, without stretches that something else happened in."""
    usual = SLOW * median_low(seconds / steps for seconds, steps in stretches)
    kept = [one for one in stretches if one[0] <= usual * one[1]]
    return sum(seconds for seconds, _ in kept) / sum(steps for _, steps in kept)
