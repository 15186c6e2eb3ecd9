"""How long a process decides, writes and waits for each job, without what happens only once."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import mean

RECENT = 32  # newest jobs that count: proposals take longer the more trials there are


class Overhead:
    """Seconds of a job that are not training.

    The first job of each slot pays for loading the sampler, starting a worker and loading the task;
    it is left out.

    Args:
        slots: Jobs that run at the same time.
        clock: Returns the seconds since any moment.
    """

    def __init__(self, slots: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first = slots  # jobs to leave out
        self._begun: dict[int, float] = {}  # when each running job began, without what was counted
        self._spent: deque[float] = deque(maxlen=RECENT)  # deciding and writing, by job
        self._waited: deque[float] = deque(maxlen=RECENT)  # between a worker and this process
        self._counted = self._shared = 0.0  # seconds in all, and until the last job ended
        self._counting = False

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the time of what is decided and written here; once where one is in another."""
        if self._counting:
            yield
            return
        self._counting, began = True, self._clock()
        try:
            yield
        finally:
            self._counted += self._clock() - began
            self._counting = False

    def began(self, job: int) -> None:
        """Note that a job was handed to a worker."""
        self._begun[job] = self._clock() - self._counted

    def ended(self, job: int, seconds: float) -> None:
        """Note that a job ended, which trained for ``seconds``."""
        waited = self._clock() - self._counted - self._begun.pop(job, math.inf) - seconds
        spent, self._shared = self._counted - self._shared, self._counted
        if self._first:
            self._first -= 1
            return
        self._spent.append(spent)
        self._waited.append(max(0.0, waited))

    def per_job(self) -> float:
        """Return the mean seconds of a job; 0 until more jobs have ended than there are slots."""
        if not self._spent:
            return 0.0
        return mean(self._spent) + mean(self._waited)
