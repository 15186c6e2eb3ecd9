"""How long a full run may be for the minutes to pay for a verdict, at a pace that was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import mean

from autotune.pruners.ladder import Ladder
from autotune.scheduler import full_runs, stages
from autotune.scheduler.policy import Policy

LEAST = 8  # settings of each optimizer that a verdict rests on
MARGIN = 1.4  # safety factor: a few seconds tell the pace of minutes
KEPT = 1.15  # what a search leaves of its time as a margin while it runs, as a factor
PROMOTED = 1 / 2  # part of a rung's trials that go on: a third, and those as good as the best
DECIDING = 0.15  # seconds to propose, store and hand over a job
MOST = 1 << 14  # settings of an optimizer that are foretold


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What trials of an optimizer take beside others, in seconds.

    Args:
        step: Of a training step.
        evaluation: Of measuring the validation loss.
        setup: Of a job's start, before its first step.
    """

    step: float
    evaluation: float = 0.0
    setup: float = 0.0

    def of(self, work: Work) -> float:
        """Return the seconds of some work."""
        jobs = work.jobs * (self.setup + DECIDING)
        return work.steps * self.step + work.evaluations * self.evaluation + jobs

    def times(self, factor: float) -> Cost:
        """Return what they take where all takes so many times as long."""
        return Cost(
            step=factor * self.step,
            evaluation=factor * self.evaluation,
            setup=factor * self.setup,
        )

    def run(self, rungs: Ladder, part: float = 1.0) -> float:
        """Return the seconds of a full run, or of a job that is a part of one."""
        return self.of(replace(whole(rungs, part), jobs=1.0))


@dataclass(frozen=True, kw_only=True)
class Work:
    """Steps, evaluations and jobs of some trials."""

    steps: float = 0.0
    evaluations: float = 0.0
    jobs: float = 0.0

    def __add__(self, other: Work) -> Work:
        """Return both together."""
        return Work(
            steps=self.steps + other.steps,
            evaluations=self.evaluations + other.evaluations,
            jobs=self.jobs + other.jobs,
        )


@dataclass(frozen=True, kw_only=True)
class Pay:
    """What is to be paid in time: a budget of minutes, who runs it, and how fast.

    Args:
        policy: How studies decide.
        costs: By optimizer.
        slots: Jobs that run at the same time.
        left: Seconds of the budget that are left.
    """

    policy: Policy
    costs: Mapping[str, Cost]
    slots: int
    left: float

    def seconds(self, rungs: Ladder, settings: int) -> float:
        """Return the wall time to try so many settings of each optimizer, select and judge."""
        rungs = self._compared(rungs)
        work = searching(self.policy, rungs, settings) + finals(self.policy, rungs)
        total = sum(cost.of(work) for cost in self.costs.values()) / self.slots
        return max(total, self._row(rungs, settings))

    def needed(self, rungs: Ladder) -> float:
        """Return the wall time that a verdict needs, with a margin."""
        return MARGIN * self.seconds(rungs, self.least(rungs))

    def least(self, rungs: Ladder) -> int:
        """Return how many settings of each optimizer a verdict rests on."""
        return min(LEAST, self._most(rungs))

    def settings(self, rungs: Ladder) -> int:
        """Return about how many settings of each optimizer can be paid."""
        left, most = self.left / KEPT, self._most(rungs)
        return _last(lambda count: self.seconds(rungs, count) <= left, 0, most)

    def steps(self, rungs: Callable[[int], Ladder], shortest: int, own: int) -> int | None:
        """Return the most steps of a full run that can be paid; None if the fewest cannot."""

        def paid(steps: int) -> bool:
            return self.needed(rungs(steps)) <= self.left

        if paid(own):
            return own
        return _last(paid, shortest, own) if paid(shortest) else None

    def shares(self, rungs: Ladder) -> dict[str, float]:
        """Return the seconds to search, to select and to judge; searching takes what is left."""
        select = self._finals(rungs, self.policy.finalists + 1)
        judge = self._finals(rungs, 2 * self.policy.seeds)
        search = max(0.0, self.left - select - judge)
        return {"search": search, "select": select, "judge": judge}

    def _finals(self, rungs: Ladder, runs: int) -> float:
        return sum(cost.of(whole(rungs, runs)) for cost in self.costs.values()) / self.slots

    def _most(self, rungs: Ladder) -> int:
        return most_settings(self.policy, rungs)

    def _compared(self, rungs: Ladder) -> Ladder:
        return _compared(self.policy, rungs)

    def _row(self, rungs: Ladder, settings: int) -> float:
        """Return the seconds of what must follow one another, however many jobs run at once."""
        first, studies = rungs.from_safe().first / rungs.steps[-1], len(self.costs)
        before = -(-settings * studies // self.slots)
        after = waves(self.policy, self.slots, studies)
        costs = self.costs.values()
        return mean(before * one.run(rungs, first) + after * one.run(rungs) for one in costs)


def most_settings(policy: Policy, rungs: Ladder) -> int:
    """Return about how many settings of each optimizer trials and full runs pay for, at most."""
    budget = policy.budget
    most = min(MOST, budget.trials or MOST)
    if budget.runs is None:
        return most
    left = (budget.runs - full_runs.final_runs(policy)) * rungs.steps[-1]
    compared = _compared(policy, rungs)
    return _last(lambda n: searching(policy, compared, n).steps <= left, 1, most)


def _compared(policy: Policy, rungs: Ladder) -> Ladder:
    return rungs.from_safe() if policy.budget.trials is not None else rungs


def searching(policy: Policy, rungs: Ladder, settings: int) -> Work:
    """Return what trying so many settings of an optimizer is expected to take."""
    starts = Counter(stages.first_stop(policy, rungs, place) for place in range(settings))
    steps = [step for step in rungs.steps if step >= rungs.first]
    work, here = Work(), 0
    for below, step in pairwise([0, *steps]):
        going = int(here * PROMOTED)
        here = going + starts[step]
        work += Work(
            steps=going * (step - below) + starts[step] * step,
            evaluations=going + starts[step] * _passed(rungs, step),
            jobs=here,
        )
    last = [0, *steps][-2]
    closing = max(0, policy.finalists - here)
    return work + Work(steps=closing * (steps[-1] - last), evaluations=closing, jobs=closing)


def finals(policy: Policy, rungs: Ladder) -> Work:
    """Return what selecting and judging take."""
    return whole(rungs, full_runs.final_runs(policy))


def whole(rungs: Ladder, runs: float) -> Work:
    """Return what full runs take."""
    return Work(steps=runs * rungs.steps[-1], evaluations=runs * len(rungs.steps), jobs=runs)


def waves(policy: Policy, slots: int, studies: int = 1) -> int:
    """Return how many full runs must follow one another to close, select and judge."""
    stages_runs = (policy.finalists, policy.finalists + 1, 2 * policy.seeds)
    return sum(-(-runs * studies // slots) for runs in stages_runs)


def slowest(costs: Iterable[Cost]) -> Cost:
    """Return the cost with the longest steps: what an optimizer that was not timed may take."""
    return max(costs, key=lambda cost: cost.step)


def _passed(rungs: Ladder, step: int) -> int:
    return sum(rung <= step for rung in rungs.steps)


def _last(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Return the largest number from ``low`` to ``high`` for which something holds; else low."""
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low
