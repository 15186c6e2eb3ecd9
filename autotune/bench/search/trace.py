"""What a method spent and would have recommended at each moment of the simulated clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

ROUNDING = 1e-9


@dataclass(kw_only=True)
class Trace:
    """When trials ran, and what was recommended when.

    Args:
        default: Number of the setting recommended before any measurement.
        share: Part of the spent runs that counts: 0.5 for a method with a double budget.
    """

    default: int
    share: float = 1.0
    intervals: list[tuple[float, float]] = field(default_factory=list)  # start and end of each job
    said: list[tuple[float, int]] = field(
        default_factory=list
    )  # time and number of the recommended setting

    def recommend(self, moment: float, number: int) -> None:
        """Record what is recommended from a moment on."""
        if not self.said or self.said[-1][1] != number:
            self.said.append((moment, number))

    @property
    def spent(self) -> float:
        """Return the full runs that were spent."""
        return sum(end - begin for begin, end in self.intervals)

    @property
    def took(self) -> float:
        """Return when the last job ended."""
        return max((end for _, end in self.intervals), default=0.0)

    def at(self, runs: Sequence[float]) -> list[int]:
        """Return what was recommended by the time that each of ``runs`` full runs were run."""
        found = []
        for moment in self._moments(runs):
            heard = [number for when, number in self.said if when <= moment + ROUNDING]
            found.append(heard[-1] if heard else self.default)
        return found

    def _moments(self, runs: Sequence[float]) -> list[float]:
        """Return when this much had been run; never, where less was run in all."""
        begins, ends = np.array(self.intervals or [(0.0, 0.0)]).T
        times = np.unique([*begins, *ends])
        work = np.clip(times[:, None] - begins, 0.0, ends - begins).sum(axis=1)
        moments = []
        for wanted in np.array(runs) / self.share:
            if wanted > work[-1] - ROUNDING:
                moments.append(float("inf"))
                continue
            place = int(np.searchsorted(work, wanted - ROUNDING))
            moments.append(_between(wanted, work, times, place))
        return moments


def _between(wanted: float, work: np.ndarray, times: np.ndarray, place: int) -> float:
    """Return when ``wanted`` was done: between two moments, work grows evenly."""
    if place == 0:
        return float(times[0])
    grown = work[place] - work[place - 1]
    part = (wanted - work[place - 1]) / grown
    return float(times[place - 1] + part * (times[place] - times[place - 1]))
