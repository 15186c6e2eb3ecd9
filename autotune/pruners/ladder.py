"""The rungs: steps at which trials pause and are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

ETA = 3
RUNGS = 4
SAFE_RUNG = 1  # losses before it separate bad from good, but rank the good ones poorly
EARLY_ETA = 2.5  # so before the safe rung, more trials are promoted

Losses = Mapping[int, Mapping[int, float]]  # trial id -> step -> validation loss


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The steps at which a trial may pause, the last being the full schedule.

    Args:
        steps: The rungs, ascending.
        first: The step at which trials are first compared.
        safe: The first rung whose losses are trusted to rank settings.
    """

    steps: tuple[int, ...]
    first: int
    safe: int = 0

    def above(self, step: int) -> int:
        """Return the rung after ``step``; the full schedule if there is none."""
        after = [rung for rung in self.steps if rung > step]
        return max(after[0] if after else self.steps[-1], self.first)

    def promoted(self, step: int, count: int) -> int:
        """Return how many of ``count`` trials at a rung are promoted."""
        return int(count / EARLY_ETA) if step < self.safe else count // ETA

    def from_safe(self) -> Ladder:
        """Return the same rungs, compared only from the safe one on."""
        return _compared_from(self, max(self.first, self.safe))

    def whole(self) -> Ladder:
        """Return the same rungs, compared only at the end."""
        return _compared_from(self, self.steps[-1])


@cache  # asked for each trial at each decision
def _compared_from(rungs: Ladder, first: int) -> Ladder:
    return replace(rungs, first=first)


def ladder(target: int, compare_from: int = 0) -> Ladder:
    """Return the rungs of a schedule of ``target`` steps.

    ``compare_from``: the first step at which losses rank settings, if the task knows it. Without
    it, settings are compared from the shortest rung on, where more of them are promoted.
    """
    steps = sorted({max(1, round(target / ETA**k)) for k in range(RUNGS)})
    if not compare_from:
        safe = steps[min(SAFE_RUNG, len(steps) - 1)]
        return Ladder(steps=tuple(steps), first=steps[0], safe=safe)
    kept = {min(compare_from, target), *(step for step in steps if step > compare_from)}
    return Ladder(steps=tuple(sorted(kept)), first=min(kept))


def rungs_of(facts: Mapping[str, Any]) -> Ladder:
    """Return the rungs of a task."""
    return ladder(int(facts["steps"]), int(facts.get("compare_from", 0)))
