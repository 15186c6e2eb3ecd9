"""How long a job may do one thing, such as a step, until it is taken for a hang.

A worker writes into memory that it shares with the coordinator what it does and since when. The
coordinator only looks: a worker that hangs can hold every lock of its own process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from multiprocessing.context import BaseContext
from typing import Any

from autotune.training.pulse import Phase

SHORTEST = 60.0  # seconds that a step may always take
FACTOR = 20.0  # times the slowest step seen that a step may take
OTHERS = 10.0  # times that of a step: a start compiles and loads, an evaluation reads all data
ASKED = 30.0  # seconds that the step may take in which a job was asked to stop
ASKED_FACTOR = 3.0  # likewise, times the slowest step seen
LOOKED = 2.0  # longest time between two looks that counts: all processes may have been suspended

_WHAT = {
    Phase.IDLE: "its worker did not start within {}",
    Phase.START: "no first step ended within {}",
    Phase.STEP: "no step ended within {}",
    Phase.EVALUATION: "no evaluation ended within {}",
    Phase.SAVING: "no checkpoint was written within {}",
    Phase.LOOP: "it measured nothing for {}",
}


class SharedPulse:
    """What a worker does and since when, and the longest that it did each thing.

    Args:
        context: Makes memory that the worker shares.
    """

    def __init__(self, context: BaseContext) -> None:
        # The phase, when it began, and the longest of each phase.
        self._memory: Any = context.RawArray("d", 2 + len(Phase))

    def __call__(self, phase: Phase) -> None:
        """Begin a phase; called by the worker."""
        memory, now = self._memory, time.monotonic()
        before = int(memory[0])
        memory[2 + before] = max(memory[2 + before], now - memory[1])
        memory[1] = now
        memory[0] = phase

    def read(self) -> tuple[Phase, float]:
        """Return what the worker does, and since when on its own clock."""
        return Phase(int(self._memory[0])), float(self._memory[1])

    def longest(self) -> Mapping[Phase, float]:
        """Return the longest that each phase took so far."""
        return {phase: float(self._memory[2 + phase]) for phase in Phase if phase}


class Patience:
    """How long jobs may take over a step, by the slowest that any worker has taken.

    Of a loop of the user's own nobody sees the steps: what is given is the time between two of its
    measurements, and until one was seen nobody knows how long it may take.

    Args:
        given: Seconds that a step may take; None: learn them.
    """

    def __init__(self, given: float | None = None) -> None:
        self.given = given
        self._longest = dict.fromkeys(Phase, 0.0)

    def learn(self, pulse: SharedPulse) -> None:
        """Look at how long a worker took."""
        for phase, seconds in pulse.longest().items():
            self._longest[phase] = max(self._longest[phase], seconds)

    def limit(self, phase: Phase) -> float:
        """Return the seconds after which a phase is a hang."""
        if phase is Phase.LOOP and (self.given is not None or not self._longest[phase]):
            return math.inf if self.given is None else self.given
        times = 1.0 if phase is Phase.STEP else OTHERS
        # A worker that starts runs nothing of the task yet.
        if self.given is not None and phase is not Phase.IDLE:
            return times * self.given
        return max(times * SHORTEST, FACTOR * self._longest[phase])

    def asked(self, phase: Phase) -> float:
        """Return the seconds that a phase may go on after its job was asked to stop."""
        return min(max(ASKED, ASKED_FACTOR * self._longest[phase]), self.limit(phase))


class Stuck:
    """For how long a worker has been at one thing, and for how long it was asked to stop.

    Time is counted between the looks of this process: if all processes of the machine were
    suspended, it would have gone by on every clock.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.asked: float | None = None  # None: it was not asked to stop
        self._mark: tuple[Phase, float] | None = None
        self._looked = time.monotonic()

    def look(self, pulse: SharedPulse) -> Phase:
        """Look at a worker that has a job; return what it does."""
        now = time.monotonic()
        passed = min(now - self._looked, LOOKED)
        self._looked = now
        mark = pulse.read()
        self.seconds = self.seconds + passed if mark == self._mark else 0.0
        self._mark = mark
        if self.asked is not None:
            self.asked += passed
        return mark[0]


def told(phase: Phase, seconds: float) -> str:
    """Return why a job was ended."""
    return f"{_WHAT[phase].format(f'{seconds:.3g} s')}; --step-timeout sets how long one may take"
