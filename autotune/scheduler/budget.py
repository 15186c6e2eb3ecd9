"""What may still be spent: nothing starts that the budget cannot pay to the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from autotune.scheduler import stages, stopping
from autotune.scheduler.policy import Policy
from autotune.scheduler.study_state import StudyState
from autotune.studies.records import Role

MARGIN = 1.15  # a measured pace varies: time is planned this much slower
ROUNDING = 1e-9
LEAD = 1.0  # full runs of search that one study may be ahead of another
WRAP_UP = 0.01  # seconds a trial takes to be closed when the search ends
ENOUGH = 0.1  # of the work, before which most of the time taken was that of starting up


@dataclass(frozen=True, kw_only=True)
class Purse:
    """The budget of a search, asked before every stretch.

    Args:
        states: The search's studies.
        slots: Stretches that run side by side.
        elapsed: Returns the seconds this search has taken, all sittings together.
        overhead: Returns the seconds that each full run costs besides training.
    """

    states: Sequence[StudyState]
    slots: int
    elapsed: Callable[[], float]
    overhead: Callable[[], float]

    @property
    def policy(self) -> Policy:
        """Return the policy, which all studies of a search share."""
        return self.states[0].policy

    def affordable(self, state: StudyState, cost: float, needed: float) -> bool:
        """Say whether a study can pay ``cost`` full runs now and ``needed`` full runs after it."""
        budget = self.policy.budget
        if budget.runs is not None:
            spent = state.committed() + cost + needed
            if spent > budget.runs + ROUNDING:
                return False
        if budget.minutes is None:
            return True
        if not state.searched and needed and self._ahead(state, searched=True) + cost > LEAD:
            return False
        return self._in_time(state, cost, needed, budget.minutes * 60 - self.elapsed())

    def pace(self, state: StudyState) -> float | None:
        """Return a study's seconds per full run, of the whole search while it has none itself."""
        for group in ([state], self.states):
            runs = sum(one.runs() for one in group)
            if runs > 0:
                return sum(one.seconds() for one in group) / runs + self.overhead()
        return None

    def _whole(self, state: StudyState) -> float | None:
        """Return the seconds of a full run that is neither saved nor loaded on the way."""
        training = self._training(state)
        return self.pace(state) if training is None else training + self.overhead()

    def _training(self, state: StudyState) -> float | None:
        """Return the seconds of these that a full run trains; None while no steps were timed."""
        for group in ([state], self.states):
            steps = sum(one.timed_steps for one in group)
            if steps:
                return sum(one.timed_seconds for one in group) / steps * state.target
        return None

    def left(self) -> float | None:
        """Return the seconds until the search ends as far as can be told; None when it cannot."""
        budget = self.policy.budget
        if budget.minutes is not None:
            return max(0.0, budget.minutes * 60 - self.elapsed())
        done = sum(state.runs() for state in self.states)
        planned = sum(map(self.planned, self.states))
        typical = self._typical()
        if typical is None or done < ENOUGH * planned:
            return None
        return max(0.0, planned - done) * typical / self.slots

    def minutes(self) -> float | None:
        """Return the minutes left of those given; None where they are no limit."""
        minutes = self.policy.budget.minutes
        return None if minutes is None else max(0.0, minutes - self.elapsed() / 60)

    def enough(self) -> int | None:
        """Return about how many minutes it takes to judge everything, at the pace so far."""
        if self.policy.budget.minutes is None:
            return None
        work = self._outstanding(self._whole)
        if work is None:
            return None
        return math.ceil((self.elapsed() + work * MARGIN / self.slots) / 60)

    def _outstanding(self, pace: Callable[[StudyState], float | None]) -> float | None:
        """Return the seconds of choosing and judging everything; None while a pace is unknown."""
        work = 0.0
        for state in self.states:
            seconds = pace(state)
            if seconds is None:
                return None
            work += stages.outstanding(state) * seconds
        return work

    def short(self) -> str | None:
        """Say so where the minutes left will not do to choose and judge; None where they may."""
        minutes, elapsed = self.policy.budget.minutes, self.elapsed()
        work = self._outstanding(self._training)
        if minutes is None or work is None or any(state.searched for state in self.states):
            return None
        left = minutes * 60 - elapsed
        if work / self.slots <= left:
            return None
        least = math.ceil(work * MARGIN / self.slots / 60)
        ample = math.ceil(elapsed / 60) + 2 * least
        return (
            f"{max(0.0, left) / 60:.2g} of {minutes:g} minutes are left, too few to choose and "
            f"judge on {self.policy.seeds} seeds, which takes about {least} at this pace; what "
            f"fits is run, and Ctrl-C, then the same with --minutes {ample}, leaves as many to "
            "search"
        )

    def planned(self, state: StudyState) -> float:
        """Return the full runs a study is expected to have spent in the end."""
        return self._to_the_end(state) if state.searched else self._with_search(state)

    def _to_the_end(self, state: StudyState) -> float:
        return state.committed() + stages.outstanding(state)

    def _with_search(self, state: StudyState) -> float:
        budget = self.policy.budget
        if budget.runs is not None:
            return budget.runs
        least = self._to_the_end(state)
        if budget.minutes is not None and (pace := self.pace(state)):
            return max(least, budget.minutes * 60 * self.slots / pace / len(self.states))
        if budget.trials is not None:
            share = stages.search_runs(self.policy, budget.trials, state.ladder)
            return max(least, share + stages.final_runs(self.policy))
        return least

    def waits(self, state: StudyState) -> bool:
        """Say whether a study has to let others catch up: minutes are the one shared limit."""
        if self.policy.budget.minutes is None:
            return False
        if state.searched:
            rounds = [stages.rounds(one) for one in self.states]
            extra = stages.complete(state)
            return extra and stages.rounds(state) > min(rounds)
        return self._ahead(state, searched=False) > LEAD

    def _typical(self) -> float | None:
        """Return the seconds a full run usually takes: a worker's first is slow, in a mean too."""
        trials = [trial for state in self.states for trial in state.trials.values()]
        paces = [trial.seconds * trial.target / trial.step for trial in trials if trial.step]
        if not paces:
            return None
        training = median(paces)
        return training + min(self.overhead(), training)  # loading a sampler is no overhead of all

    def _ahead(self, state: StudyState, *, searched: bool) -> float:
        """Return how many full runs of search a study leads the closed, or the open, others by."""
        own = state.committed(Role.SEARCH)
        others = [
            other.committed(Role.SEARCH)
            for other in self.states
            # Who gave up early leaves its time to the others.
            if other.searched is searched and not (searched and stopping.reached(other))
        ]
        return own - min(others, default=own)

    def _in_time(self, state: StudyState, cost: float, needed: float, left: float) -> bool:
        pace = self.pace(state)
        if pace is None:
            return left > 0 and not state.running()
        left -= WRAP_UP * sum(len(one.trials) for one in self.states)
        own = cost * pace * MARGIN
        if own > left or not needed:
            return own <= left
        whole = self._whole(state) or pace
        work = own + needed * whole
        for other in self.states:
            work += (other.committed() - other.runs()) * (self.pace(other) or pace)
            if other is not state:
                work += stages.outstanding(other) * (self._whole(other) or pace)
        longest = 0.0 if state.searched else whole * stages.waves(self.policy, self.slots)
        return max(work / self.slots, own + longest) * MARGIN <= left
