"""How often one token may call."""

from __future__ import annotations

import math
from collections.abc import Callable

from autotune.service.problems import Problem

RATE = 200.0  # calls a second
BURST = 2.0  # seconds' worth of calls that may come at once


class Rates:
    """A bucket for each token: calls take from it, and time fills it.

    Args:
        rate: Calls a second.
        clock: Seconds.
    """

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate, self._most, self._clock = rate, max(rate * BURST, 1.0), clock
        self._left: dict[int, tuple[float, float]] = {}  # calls, and when they were counted

    def take(self, token: int) -> None:
        """Count a call; raises Problem where there are too many."""
        now = self._clock()
        left, since = self._left.get(token, (self._most, now))
        left = min(self._most, left + (now - since) * self._rate)
        self._left[token] = (left - 1.0 if left >= 1.0 else left, now)
        if left < 1.0:
            sentence = f"this token may call {self._rate:g} times a second; call again later"
            wait = str(max(1, math.ceil((1.0 - left) / self._rate)))
            raise Problem(
                429, "too-many-requests", sentence, retry="after", headers={"Retry-After": wait}
            )
