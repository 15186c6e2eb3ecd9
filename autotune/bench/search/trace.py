"""What a method spent and what it would have recommended, at every moment of a simulated clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

ROUNDING = 1e-9


@dataclass(kw_only=True)
class Trace:
    """The stretches that were run, and the recommendations between them.

    Args:
        default: Number of the setting recommended before anything was measured.
        share: Of what is spent, how much counts: a method on a double budget has 0.5.
    """

    default: int
    share: float = 1.0
    stretches: list[tuple[float, float]] = field(default_factory=list)  # when each began and ended
    said: list[tuple[float, int]] = field(default_factory=list)  # when, and the setting's number

    def recommend(self, moment: float, number: int) -> None:
        """Note what is recommended from a moment on."""
        if not self.said or self.said[-1][1] != number:
            self.said.append((moment, number))

    @property
    def spent(self) -> float:
        """Return the full runs that were run."""
        return sum(end - begin for begin, end in self.stretches)

    @property
    def took(self) -> float:
        """Return when the last stretch ended."""
        return max((end for _, end in self.stretches), default=0.0)

    def at(self, runs: Sequence[float]) -> list[int]:
        """Return what was recommended by the time that each of ``runs`` full runs were run."""
        found = []
        for moment in self._moments(runs):
            heard = [number for when, number in self.said if when <= moment + ROUNDING]
            found.append(heard[-1] if heard else self.default)
        return found

    def _moments(self, runs: Sequence[float]) -> list[float]:
        """Return when this much had been run; never, where less was run in all."""
        begins, ends = np.array(self.stretches or [(0.0, 0.0)]).T
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
