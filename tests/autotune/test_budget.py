"""Budgets of minutes, on a clock that the test moves."""

import heapq
import math
from dataclasses import replace
from functools import partial

import pytest

from autotune.pruners.ladder import Ladder
from autotune.scheduler import stages, stopping
from autotune.scheduler.budget import BudgetTracker
from autotune.scheduler.policy import Policy
from autotune.scheduler.study_state import StudyState
from autotune.search.advice import Advice
from autotune.space.spaces import build
from autotune.studies.records import Point, Role, StudyRecord, TrialRecord, TrialState
from autotune.studies.spec import parse
from autotune.testing.trials import search_trial

RUNGS = Ladder(steps=(38, 64), first=38)
SPACE = build({"lr": ("log", 1e-4, 1e-1)}, {"lr": 1e-3, "weight_decay": 0.0}, {})


class World:
    """A search whose full runs take ``seconds`` each, whatever it is that runs."""

    def __init__(self, seconds, minutes, optimizers=3, slots=2, slower=0.0, pausing=0.0, **budget):
        names = [f"o{i}" for i in range(optimizers)]
        self.spec = parse(
            {
                "model": "m",
                "optimizers": names,
                "budget": {"minutes": minutes, **budget},
                "sampler": "sobol",
            }
        )
        self.seconds, self.slots, self.slower, self.now = seconds, slots, slower, 0.0
        self.pausing = pausing  # seconds it takes to save a trial, and to load it
        preset = SPACE.preset({}, 0.1, "preset:default")
        self.states = [
            StudyState(
                study=StudyRecord(id=i, search="m", optimizer=name, space={}),
                space=SPACE,
                presets=[preset],
                policy=Policy.of(self.spec),
                ladder=RUNGS,
            )
            for i, name in enumerate(names)
        ]
        self.tracker = BudgetTracker(
            states=self.states,
            slots=slots,
            elapsed=lambda: self.now,
            overhead=lambda: 0.0,
        )
        self.flying = []

    def play(self):
        while True:
            while len(self.flying) < self.slots and self.start():
                pass
            if not self.flying:
                return self
            self.now, _, state, trial, stop = heapq.heappop(self.flying)
            self.end(state, trial, stop)

    def start(self):
        for state in sorted(self.states, key=StudyState.committed):
            if self.tracker.waits(state):
                continue
            suggestion = stages.next_suggestion(state, partial(self.tracker.affordable, state))
            if suggestion:
                trial = suggestion.trial or self.add(state, suggestion.proposal)
                state.keep(replace(trial, state=TrialState.RUNNING))
                state.stops[trial.id] = suggestion.stop
                took = (suggestion.stop - trial.step) / 64 * self.seconds
                took *= 1 + self.slower * (self.now > self.spec.budget.minutes * 20)
                took += self.pausing * ((trial.step > 0) + (suggestion.stop < 64))
                done = (
                    self.now + took,
                    trial.id,
                    state,
                    replace(trial, seconds=took),
                    suggestion.stop,
                )
                heapq.heappush(self.flying, done)
                return True
        return False

    def add(self, state, proposal):
        number = len(state.trials)
        fields = {name: getattr(proposal, name) for name in proposal.__dataclass_fields__}
        return TrialRecord(id=1000 * state.study.id + number, study=1, number=number, **fields)

    def end(self, state, trial, stop):
        before = state.trials[trial.id].seconds
        loss = 1 + (trial.setting.params["lr"] / 0.01 - 1) ** 2 + 1e-3 * trial.seed
        ended = TrialState.COMPLETE if stop == 64 else TrialState.PAUSED
        kept = replace(trial, state=ended, step=stop, loss=loss, seconds=before + trial.seconds)
        state.stops.pop(trial.id)
        step = self.seconds / 64
        first = Point(step=trial.step + 1, seconds=step)
        last = Point(step=stop, seconds=step * (stop - trial.step), loss=loss)
        state.keep(kept, [first, last])


@pytest.mark.parametrize("seconds", [2, 8, 16, 22])
@pytest.mark.parametrize(("optimizers", "slots"), [(1, 1), (1, 2), (1, 4), (3, 1), (3, 2), (5, 4)])
def test_minutes_are_kept_and_everything_is_judged(seconds, optimizers, slots):
    minutes = max(7 * optimizers / slots / (3 / 2), seconds / 9)  # at least what waves need
    world = World(seconds, minutes, optimizers, slots).play()
    assert world.now <= minutes * 60
    for state in world.states:
        assert stages.complete(state)
        seeds = {trial.seed for trial in state.of(Role.JUDGE)}
        assert len(seeds) >= 3


@pytest.mark.parametrize("seconds", [2, 8, 16])
def test_most_of_the_minutes_are_used(seconds):
    world = World(seconds, 7).play()
    assert world.now > 0.8 * 7 * 60


def test_who_gives_up_early_leaves_its_time_to_the_others():
    world = World(2, 7, optimizers=2, patience=12)
    flat = world.states[0]
    first = search_trial(
        id=0,
        study=0,
        origin="preset:default",
        params={"lr": 1e-3},
        hyper={"lr": 1e-3},
        target=64,
        state=TrialState.COMPLETE,
        step=64,
        loss=0.0,
    )
    flat.keep(first, [Point(step=step, seconds=1.0, loss=0.0) for step in (38, 64)])
    world.play()
    runs = [state.committed(Role.SEARCH) for state in world.states]
    assert stopping.reached(flat)
    assert runs[1] > runs[0] + 2


@pytest.mark.parametrize("seconds", [2, 8, 16])
@pytest.mark.parametrize("slower", [0.0, 0.1, -0.3])
def test_studies_search_alike(seconds, slower):
    world = World(seconds, 7, slower=slower).play()
    runs = [state.committed(Role.SEARCH) for state in world.states]
    assert max(runs) - min(runs) <= 2.0  # a lead, and a finalist taken to its end


def test_a_machine_that_slows_down_still_judges_on_every_seed():
    world = World(14, 7, slower=0.1).play()
    assert world.now <= 7 * 60
    assert all(stages.complete(state) for state in world.states)


def test_finals_are_not_planned_as_slow_as_trials_that_pause():
    world = World(16, 7, pausing=3.0).play()
    tried = [len(state.of(Role.SEARCH)) for state in world.states]
    assert min(tried) >= 6
    assert world.now <= 7 * 60
    assert all(stages.complete(state) for state in world.states)


def test_too_few_minutes_still_try_the_default_of_every_optimizer():
    world = World(40, 3).play()
    assert world.now <= 3 * 60
    assert all(state.of(Role.SEARCH) for state in world.states)
    assert not all(stages.complete(state) for state in world.states)


@pytest.mark.parametrize(("seconds", "minutes"), [(40, 3), (16, 2), (30, 6)])
def test_minutes_that_would_have_been_enough_are_enough(seconds, minutes):
    short = World(seconds, minutes).play()
    enough = short.tracker.minutes_needed()
    assert minutes < enough
    longer = World(seconds, enough).play()
    assert all(stages.complete(state) for state in longer.states)
    assert longer.now > 0.6 * enough * 60


def foretold(world):
    """Play until every optimizer has run a little, and return what is said then."""
    while not all(state.runs() for state in world.states):
        assert world.tracker.shortage() is None or any(state.runs() for state in world.states)
        while len(world.flying) < world.slots and world.start():
            pass
        world.now, _, state, trial, stop = heapq.heappop(world.flying)
        world.end(state, trial, stop)
    return world.tracker.shortage()


def test_too_few_minutes_are_told_as_soon_as_the_pace_is_known():
    world = World(40, 6)
    assert world.tracker.shortage() is None
    assert foretold(world) == (
        "5.2 of 6 minutes left; selecting and judging on 3 seeds needs about 12 minutes. The "
        "search continues with what fits. For time to search as well: Ctrl-C, then rerun with "
        "--minutes 25"
    )
    longer = World(40, 25).play()
    assert all(stages.complete(state) for state in longer.states)
    assert all(len(state.of(Role.SEARCH)) > 9 for state in longer.states)


@pytest.mark.parametrize("runs", [12, 15, 16, 17, 18, 19, 20, 25])
@pytest.mark.parametrize("seconds", [1, 21, 100])
@pytest.mark.parametrize("slower", [0.0, 0.05])
def test_minutes_that_do_are_never_called_too_few(seconds, runs, slower):
    world = World(seconds, seconds * runs / 60, slower=slower)
    said = foretold(world)
    world.play()
    complete = all(stages.complete(state) for state in world.states)
    assert said is None or not complete
    assert said or complete or runs > 15


def test_few_minutes_are_not_called_too_few_once_a_search_has_ended():
    world = World(40, 6)
    assert foretold(world)
    world.states[0].searched = True
    assert world.tracker.shortage() is None


def test_enough_is_what_it_took_and_unknown_before_anything_ran():
    assert World(2, 7).tracker.minutes_needed() is None
    world = World(2, 7).play()
    assert world.tracker.minutes_needed() == math.ceil(world.now / 60)


def advice(world):
    return Advice(world.states, world.tracker.policy.seeds)


def ended(world, advice):
    """Return what is said of minutes at the end of a search."""
    return [text for text in advice.at_end(world.tracker) if "minutes" in text]


@pytest.mark.parametrize(("seconds", "minutes"), [(40, 6), (40, 3), (30, 6)])
def test_the_minutes_advised_while_a_search_ran_are_those_advised_at_its_end(seconds, minutes):
    world = World(seconds, minutes)
    assert foretold(world)
    ample, advised = world.tracker.ample(), advice(world)
    assert advised.shortage(world.tracker).endswith(f"--minutes {ample}")
    world.play()

    said = ended(world, advised)

    assert said
    assert all(f"Raise it to about {ample} minutes" in text for text in said)


def test_more_minutes_are_advised_where_it_turned_out_slower_than_was_told():
    world = World(40, 3).play()
    needed, said = world.tracker.minutes_needed(), ended(world, advice(world))

    assert said
    assert all(f"Raise it to about {needed} minutes" in text for text in said)
