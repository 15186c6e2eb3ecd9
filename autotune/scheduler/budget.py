"""Track what a search may still spend. Nothing starts that the budget cannot pay to its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, median_low

from autotune.scheduler import full_runs, stages, stopping
from autotune.scheduler.fairness import ROUNDING, longest, slack
from autotune.scheduler.fitting import Cost, waves
from autotune.scheduler.policy import Policy
from autotune.scheduler.study_state import StudyState
from autotune.studies.records import Role, TrialRecord

MARGIN = 1.15  # safety factor on predicted times, because the measured pace varies
LEAD = 1.0  # full runs by which a search may go beyond one that is over, at most
AGAIN = 1 / 3  # full runs of search that are at least left, for a search that ended to go on
# Part of what a trial takes beyond training that comes before it; the rest saves it, which a run
# without a pause does not do.
BUILDING = 0.5
VARIES = 3.0  # safety factor on deciding, writing and waiting, which vary more than training
WRAP_UP = 0.01  # seconds to close one trial when the search ends
# Until 10 % of the planned runs are done, start-up dominates and no estimate is given.
ESTIMATE_FROM = 0.1


@dataclass(frozen=True, kw_only=True)
class BudgetTracker:
    """The budget of a search: asked before every job whether it can be paid.

    Args:
        states: The search's studies.
        slots: Jobs that run at the same time.
        elapsed: Returns the seconds this search has taken, earlier runs of it included.
        overhead: Returns the seconds of a job that are not training, without those of a start.
        costs: What was measured before the first trial, by optimizer.
    """

    states: Sequence[StudyState]
    slots: int
    elapsed: Callable[[], float]
    overhead: Callable[[], float]
    costs: Mapping[str, Cost] = field(default_factory=dict)

    @property
    def policy(self) -> Policy:
        """Return the policy, which all studies of a search share."""
        return self.states[0].policy

    def affordable(self, state: StudyState, cost: float, needed: float) -> bool:
        """Return whether a study can pay ``cost`` full runs now and ``needed`` ones later."""
        budget = self.policy.budget
        if budget.runs is not None:
            spent = state.committed() + cost + needed
            if spent > budget.runs + ROUNDING:
                return False
        if budget.minutes is None:
            return True
        if not state.searched and needed and self._too_far(state, cost, needed):
            return False
        return self._in_time(state, cost, needed, budget.minutes * 60 - self.elapsed())

    def pays(self, wanted: Sequence[StudyState]) -> bool:
        """Return whether the runs and minutes of all studies together pay for these full runs."""
        budget = self.policy.budget
        spent = sum(state.committed() for state in self.states)
        if budget.runs is not None and spent + len(wanted) > budget.runs + ROUNDING:
            return False
        if budget.minutes is None:
            return True
        left, paces = budget.minutes * 60 - self.elapsed(), [self.pace(one) for one in wanted]
        known = [pace for pace in paces if pace is not None]
        if not known:
            return left > 0
        longest = max(known)
        work = longest * (len(paces) - len(known)) + sum(known)
        running = sum((one.committed() - one.runs()) * longest for one in self.states)
        return self._fits(running + work, longest, left)

    def pace(self, state: StudyState, cost: float = 1.0) -> float | None:
        """Return the seconds of a job of ``cost`` full runs; None if too little has run.

        The first trial of each slot tells nothing: nobody knows what of it happens only once. A
        study that has run nothing is taken to be as fast as the others.
        """
        trials = self._measured()
        if len(trials) <= self.slots:
            known = self.costs.get(state.study.optimizer)
            return None if known is None else known.run(state.ladder, cost)
        training = self._training(state)
        if training is None:
            own = [t for t in trials if t.id in state.trials] or trials
            paces = [trial.seconds * trial.target / trial.step for trial in own]
            return cost * median_low(paces) + self.overhead()
        return cost * training + self._beyond() + self.overhead()

    def _measured(self) -> list[TrialRecord]:
        return [t for state in self.states for t in state.trials.values() if t.step]

    def _whole(self, state: StudyState) -> float | None:
        """Return the seconds of a full run without pauses, so without saving and loading."""
        training = self._training(state)
        if training is None or len(self._measured()) <= self.slots:
            return self.pace(state)
        return training + BUILDING * self._beyond() + VARIES * self.overhead()

    def _beyond(self) -> float:
        """Return the usual seconds of a trial that are not training: building and saving it."""
        beyond = [0.0]
        for state in self.states:
            trials = [t for t in state.trials.values() if t.step]
            trained = {step: self._training(state, step) for step in {t.step for t in trials}}
            beyond += [trial.seconds - (trained[trial.step] or 0.0) for trial in trials]
        return max(0.0, median_low(beyond))

    def _training(self, state: StudyState, steps: int | None = None) -> float | None:
        return _training([state, *self.states], steps)

    def reopens(self) -> bool:
        """Return whether the searches that ended for want of time may go on.

        All of them may or none, so that they stay equal. It depends on the clock alone: a loss on
        a judging seed must not decide what else is tried.
        """
        budget = self.policy.budget
        if budget.minutes is None or not all(state.searched for state in self.states):
            return False
        going = [state for state in self.states if not stopping.reached(state)]
        if not going or not all(map(stages.has_more, going)):
            return False
        again = max(AGAIN, *(stages.next_part(state) for state in going))
        wanted = {state.study.id: again + stages.anew(state) for state in going}
        spent = [state.committed() + wanted[state.study.id] for state in going]
        if budget.runs is not None and max(spent) > budget.runs + ROUNDING:
            return False
        work = longest = 0.0
        for state in self.states:
            whole = self._whole(state)
            if whole is None:
                return False
            own = wanted.get(state.study.id, stages.outstanding(state))
            work += (own + state.committed() - state.runs()) * whole
            longest = max(longest, (again + waves(self.policy, self.slots)) * whole)
        return self._fits(work, longest, budget.minutes * 60 - self.elapsed())

    def seconds_left(self) -> float | None:
        """Return the expected seconds until the search ends; None if unknown."""
        budget = self.policy.budget
        if budget.minutes is not None:
            return max(0.0, budget.minutes * 60 - self.elapsed())
        done = sum(state.runs() for state in self.states)
        planned = sum(map(self.planned, self.states))
        typical = self._typical()
        if typical is None or done < ESTIMATE_FROM * planned:
            return None
        return max(0.0, planned - done) * typical / self.slots

    def minutes_left(self) -> float | None:
        """Return the minutes left; None if the budget has no limit in minutes."""
        minutes = self.policy.budget.minutes
        return None if minutes is None else max(0.0, minutes - self.elapsed() / 60)

    def minutes_needed(self) -> int | None:
        """Return about how many minutes the budget needs to judge everything, at this pace."""
        if self.policy.budget.minutes is None:
            return None
        work = self._outstanding(self._whole)
        if work is None:
            return None
        return math.ceil((self.elapsed() + work * MARGIN / self.slots) / 60)

    def _outstanding(self, pace: Callable[[StudyState], float | None]) -> float | None:
        """Return the seconds to select and judge in all studies; None if a pace is unknown."""
        work = 0.0
        for state in self.states:
            seconds = pace(state)
            if seconds is None:
                return None
            work += stages.outstanding(state) * seconds
        return work

    def shortage(self) -> str | None:
        """Return a warning if the minutes left cannot cover selection and judging, else None."""
        minutes, elapsed = self.policy.budget.minutes, self.elapsed()
        work = self._outstanding(self._training)
        if minutes is None or work is None or any(state.searched for state in self.states):
            return None
        left = minutes * 60 - elapsed
        if work / self.slots <= left:
            return None
        return (
            f"{max(0.0, left) / 60:.2g} of {minutes:g} minutes left; selecting and judging on "
            f"{self.policy.seeds} seeds needs about {self._final(work)} minutes. The search "
            "continues with what fits. For time to search as well: Ctrl-C, then rerun with "
            f"--minutes {self.ample()}"
        )

    def ample(self) -> int | None:
        """Return about how many minutes in all leave as much time to search as judging takes."""
        work = self._outstanding(self._training)
        return None if work is None else math.ceil(self.elapsed() / 60) + 2 * self._final(work)

    def _final(self, work: float) -> int:
        return math.ceil(work * MARGIN / self.slots / 60)

    def planned(self, state: StudyState) -> float:
        """Return the full runs that a study is expected to spend in total."""
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
            share = full_runs.search_runs(self.policy, budget.trials, state.ladder)
            return max(least, share + full_runs.final_runs(self.policy))
        return least

    def waits(self, state: StudyState) -> bool:
        """Return whether a study must wait, so that all are searched and judged alike.

        Of those that still search, the one that has searched the least goes next. None is more than
        one rung ahead of another.
        """
        if self.policy.budget.minutes is None:
            return False
        if state.searched:
            rounds = [stages.rounds(one) for one in self.states]
            extra = stages.complete(state)
            return extra and stages.rounds(state) > min(rounds)
        own = state.committed(Role.SEARCH)
        others = [one.committed(Role.SEARCH) for one in self.states if not one.searched]
        return own > min(others) + ROUNDING

    def _typical(self) -> float | None:
        """Return the median seconds of a full run: a worker's slow first trial distorts means."""
        trials = [trial for state in self.states for trial in state.trials.values()]
        paces = [trial.seconds * trial.target / trial.step for trial in trials if trial.step]
        if not paces:
            return None
        training = median(paces)
        return training + min(self.overhead(), training)  # loading a sampler happens only once

    def _too_far(self, state: StudyState, cost: float, needed: float) -> bool:
        """Return whether a job leads a search too far beyond one that is over."""
        over = [
            other.committed(Role.SEARCH)
            for other in self.states
            # A study that stopped early leaves its time to the others.
            if other.searched and not stopping.reached(other)
        ]
        if not over:
            return False
        rung = min(cost, longest(state.ladder))
        # At most half of what counts as alike: what a job needs after it is an estimate.
        lead = min(LEAD, slack(min(over) / 2, rung))
        return _level(state, cost, needed) > min(over) + lead

    def _in_time(self, state: StudyState, cost: float, needed: float, left: float) -> bool:
        pace = self.pace(state, cost)
        if pace is None:
            return left > 0 and not state.running()
        if not needed or not self._fits(0.0, pace, left):
            return self._fits(0.0, pace, left)
        own = pace * MARGIN
        whole = self._whole(state) or pace
        work = own + needed * whole
        level, after = _level(state, cost, needed), waves(self.policy, self.slots)
        row = own if state.searched else own + whole * after
        for other in self.states:
            pace = self._whole(other) or whole
            runs = 0.0 if other is state else _to_follow(other, level)
            work += (runs + other.committed() - other.runs()) * pace
            if not other.searched and other is not state:
                behind = runs - stages.outstanding(other)
                row = max(row, (after + behind * MARGIN) * pace)
        return self._fits(work, row, left)

    def _fits(self, work: float, longest: float, left: float) -> bool:
        """Return whether so many seconds of work on all slots, and of jobs in a row, are left."""
        left -= WRAP_UP * sum(len(one.trials) for one in self.states)
        return max(work / self.slots, longest) * MARGIN <= left


def _level(state: StudyState, cost: float, needed: float) -> float:
    """Return the full runs of a study's search if it ends after a job and what that needs."""
    return state.committed(Role.SEARCH) + cost + max(0.0, needed - stages.reserved(state))


def _to_follow(state: StudyState, level: float) -> float:
    """Return the full runs that a study needs to be searched as far as another, and judged."""
    if state.searched or stopping.reached(state):
        return stages.outstanding(state)
    left = level - state.committed(Role.SEARCH) + stages.finals(state)
    return max(stages.outstanding(state), left)


def _training(group: Sequence[StudyState], steps: int | None = None) -> float | None:
    """Return the seconds of pure training to a step, or of a full run; None until it was timed."""
    for one in group:
        stop = steps or one.target
        training = one.pace.run(stop, sum(rung <= stop for rung in one.ladder.steps))
        if training is not None:
            return training
    return None
