"""A search with a budget of minutes on a simulated clock: the real scheduler, nothing trained."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from autotune.pruners.ladder import ladder
from autotune.scheduler import stages, stopping
from autotune.scheduler.budget import BudgetTracker
from autotune.scheduler.fitting import Cost
from autotune.scheduler.policy import Policy
from autotune.scheduler.stages import Suggestion
from autotune.scheduler.study_state import StudyState
from autotune.search.overhead import Overhead
from autotune.seeds import derive
from autotune.space.spaces import build
from autotune.studies.records import Point, Proposal, StudyRecord, TrialRecord, TrialState
from autotune.studies.spec import parse

SPACE = build({"lr": ("log", 1e-4, 1e-1)}, {"lr": 1e-3, "weight_decay": 0.0}, {})
STEPS = 270
EVERY = 7  # steps between points of the training loss, of so many

Running = tuple[float, int, StudyState, TrialRecord, int]


class SimulatedSearch:
    """A search whose jobs take simulated time.

    Args:
        runs: Seconds of a full run, by optimizer.
        minutes: The budget.
        slots: Jobs that run at the same time.
        start: Seconds that the first job of each slot trains longer.
        spawning: Seconds until a slot can train at all.
        loading: Seconds that the first decision takes.
        evaluation: Seconds of each evaluation.
        setup: Seconds that each job takes before its first step.
        steps: Of a full run.
        compare_from: Step from which losses rank settings, if the task knows it.
        costs: What was measured before the first trial.
        spec: Further keys of the spec.
    """

    def __init__(  # noqa: PLR0913  what a machine is made of
        self,
        runs: Mapping[str, float],
        minutes: float,
        *,
        slots: int = 1,
        start: float = 0.0,
        spawning: float = 0.0,
        loading: float = 0.0,
        evaluation: float = 0.0,
        setup: float = 0.0,
        steps: int = STEPS,
        compare_from: int = 0,
        costs: Mapping[str, Cost] | None = None,
        **spec: Any,
    ) -> None:
        self.seconds, self.slots, self.once = dict(runs), slots, (start, spawning)
        self.evaluation, self.setup, self.loading = evaluation, setup, loading
        self.spec = {"model": "m", "optimizers": list(runs), "sampler": "sobol", **spec}
        self.steps, self.rungs, self.costs = steps, ladder(steps, compare_from), costs or {}
        self.every = max(1, EVERY * steps // STEPS)
        self.now, self.reopened, self._trials = 0.0, 0, -1
        self.states = [self._study(id, name) for id, name in enumerate(runs)]
        self.sit(minutes)

    def _study(self, id: int, name: str) -> StudyState:
        return StudyState(
            study=StudyRecord(id=id, search="m", optimizer=name, space={}),
            space=SPACE,
            presets=[SPACE.preset({}, 0.1, "preset:default")],
            policy=Policy.of(parse(self.spec)),
            ladder=self.rungs,
        )

    def sit(self, minutes: float) -> None:
        """Begin a new process with this budget in all, as the same command again does."""
        budget = self.spec.get("budget", {}) | {"minutes": minutes}
        policy = Policy.of(parse(self.spec | {"budget": budget}))
        for state in self.states:
            state.policy, state.searched = policy, False
            for trial in state.trials.values():
                if trial.state is TrialState.STOPPED:
                    state.keep(replace(trial, state=TrialState.PAUSED))
        self.fresh = self.slots  # slots that have run no job yet
        self.running: list[Running] = []
        self._overhead, self._loaded = Overhead(self.slots, lambda: self.now), False
        self.tracker = BudgetTracker(
            states=self.states,
            slots=self.slots,
            elapsed=lambda: self.now,
            overhead=self._overhead.per_job,
            costs=self.costs,
        )

    def play(self, until: Callable[[], bool] = lambda: False) -> SimulatedSearch:
        """Run until nothing is left to start, or until something is so."""
        while not until() and self._fill():
            self.now, _, state, trial, stop = heapq.heappop(self.running)
            self._end(state, trial, stop)
        return self

    def _fill(self) -> bool:
        while len(self.running) < self.slots and self._start():
            pass
        return bool(self.running)

    def _start(self) -> bool:
        trials = sum(len(state.trials) for state in self.states)
        if trials != self._trials and self.tracker.reopens():
            self.reopened, self._trials = self.reopened + 1, trials
            for state in self.states:
                state.searched = stopping.reached(state)
        searching = [state.searched for state in self.states]
        for state in sorted(self.states, key=StudyState.committed):
            if self.tracker.waits(state):
                continue
            found = stages.next_suggestion(state, partial(self.tracker.affordable, state))
            if found:
                self._begin(state, found)
                return True
        return [state.searched for state in self.states] != searching and self._start()

    def _begin(self, state: StudyState, found: Suggestion) -> None:
        if not self._loaded:
            with self._overhead.counted():
                self.now += self.loading
            self._loaded = True
        trial = found.trial or self._add(state, found.proposal)
        state.keep(replace(trial, state=TrialState.RUNNING))
        state.stops[trial.id] = found.stop
        took = self._points(state, trial, found.stop)[-1].seconds + self.setup
        self._overhead.began(trial.id)
        start, spawning = self.once if self.fresh else (0.0, 0.0)
        self.fresh = max(0, self.fresh - 1)
        took += start
        end = self.now + spawning + took
        job = (end, trial.id, state, replace(trial, seconds=took), found.stop)
        heapq.heappush(self.running, job)

    def _add(self, state: StudyState, proposal: Proposal | None) -> TrialRecord:
        if proposal is None:
            raise ValueError("a suggestion needs a trial or a proposal")
        number = len(state.trials)
        fields = {name: getattr(proposal, name) for name in proposal.__dataclass_fields__}
        id = 100_000 * state.study.id + number
        return TrialRecord(id=id, study=state.study.id, number=number, **fields)

    def _points(self, state: StudyState, trial: TrialRecord, stop: int) -> list[Point]:
        step = self.seconds[state.study.optimizer] / self.steps
        points, evaluations = [], 0
        for done in range(trial.step + 1, stop + 1):
            rung = done in state.ladder.steps
            evaluations += rung
            if rung or done % self.every == 0 or done == stop:
                seconds = (done - trial.step) * step + evaluations * self.evaluation
                loss = self.loss(trial, done) if rung else None
                points.append(Point(step=done, seconds=seconds, loss=loss))
        return points

    def loss(self, trial: TrialRecord, step: int) -> float:
        """Return a loss that falls with the steps, is lowest at a rate of 0.01, and noisy."""
        rate = float(trial.setting.params["lr"])
        noise = derive(f"{rate} {trial.seed}") / 2**32 - 0.5
        return 1 + abs(math.log10(rate / 0.01)) + 0.1 * noise + 0.5 * (1 - step / self.steps)

    def _end(self, state: StudyState, trial: TrialRecord, stop: int) -> None:
        before = state.trials[trial.id].seconds
        points = self._points(state, trial, stop)
        ended = TrialState.COMPLETE if stop == self.steps else TrialState.PAUSED
        seconds = before + trial.seconds
        kept = replace(trial, state=ended, step=stop, loss=points[-1].loss, seconds=seconds)
        state.stops.pop(trial.id)
        state.keep(kept, points)
        self._overhead.ended(trial.id, trial.seconds)
