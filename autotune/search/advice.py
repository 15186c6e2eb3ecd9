"""What a user is told of a search's minutes, settings and ranges: as it runs, and at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from autotune.scheduler import racing, stages, widening
from autotune.scheduler.budget import BudgetTracker
from autotune.scheduler.study_state import StudyState
from autotune.search.reasons import hopeless
from autotune.search.renewal import unfinished


class Advice:
    """Advises one number of minutes for one search: what was called enough is not called less.

    Args:
        states: The search's studies.
        seeds: How many seeds each study is to be judged on.
        advised: Minutes that were called enough before it ran.
    """

    def __init__(self, states: Sequence[StudyState], seeds: int, advised: int = 0) -> None:
        self._states, self._seeds = states, seeds
        self._advised = advised  # minutes that were called enough before or while it ran

    def shortage(self, tracker: BudgetTracker) -> str | None:
        """Return a warning if the minutes left are too few to select and judge, else None."""
        text = tracker.shortage()
        if text:
            self._advised = tracker.ample() or 0
        return text

    def at_end(self, tracker: BudgetTracker) -> Iterator[str]:
        """Yield what was too small or too narrow: the budget, or a range."""
        if hopeless(self._states):
            return  # no budget would have been enough
        minutes = max(tracker.minutes_needed() or 0, self._advised)
        enough = f" to about {minutes} minutes" if minutes else ""
        for state in self._states:
            scarce = filter(None, [stages.scarce(state)])
            for text in (*widening.recommended(state, racing.chosen(state)), *scarce):
                yield f"{state.study.optimizer}: {text}"
            if not stages.complete(state):
                yield unfinished(state, self._seeds, enough)
