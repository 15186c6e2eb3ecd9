"""What a study's state counts as it goes is what counting all of it anew gives."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from autotune.pruners.ladder import ladder
from autotune.scheduler.policy import Policy
from autotune.scheduler.study_state import StudyState
from autotune.space.spaces import build
from autotune.studies.records import Role, StudyRecord, TrialState
from autotune.studies.spec import parse
from autotune.testing.trials import search_trial

LOST = {TrialState.DIVERGED, TrialState.FAILED}
FIRST, TARGET = 3, 81  # steps
EVENTS = st.tuples(
    st.integers(0, 9),  # number
    st.sampled_from(TrialState),
    st.integers(0, TARGET),  # step
    st.none() | st.integers(0, TARGET),  # where a running one is heading
)


def empty():
    record = StudyRecord(id=1, search="m", optimizer="adan", space={})
    return StudyState(
        study=record,
        space=build({}, {}, {}),
        presets=[],
        policy=Policy.of(parse({"model": "m"})),
        ladder=ladder(TARGET),
    )


def numbered(number):
    """Return a trial whose role follows its number, and whose id does not."""
    role = list(Role)[number % len(Role)]
    return search_trial(number, id=100 - number, role=role, target=TARGET)


def cost(trial):
    if trial.role is Role.ADDED:
        return 0  # it was measured elsewhere
    return max(trial.step, FIRST) if trial.state in LOST else trial.step


@given(st.lists(EVENTS))
def test_trials_and_costs_are_those_of_the_newest_records(events):
    study, newest, stops = empty(), {}, {}
    for number, state, step, stop in events:
        trial = replace(numbered(number), state=state, step=step)
        study.keep(trial)
        newest[number] = trial
        stops.pop(trial.id, None)
        if stop is not None:
            stops[trial.id] = stop
    study.stops = stops
    for role in Role:
        mine = [newest[number] for number in sorted(newest) if newest[number].role is role]
        heading = sum(max(cost(trial), stops.get(trial.id, 0)) for trial in mine)
        assert study.of(role) == mine
        assert study.committed(role) == heading / TARGET
    everyone = newest.values()
    assert study.runs() == sum(map(cost, everyone)) / TARGET
    assert study.committed() == sum(max(cost(t), stops.get(t.id, 0)) for t in everyone) / TARGET


def test_a_setting_that_lacks_an_argument_was_tried_with_its_default():
    state = replace(empty(), space=build({}, {"lr": 0.1, "since": False}, {}))
    trial = numbered(0)
    older = replace(trial.setting, hyper={"lr": 0.3})
    state.keep(replace(trial, setting=older))
    assert state.tried(replace(older, hyper={"lr": 0.3, "since": False}))
    assert not state.tried(replace(older, hyper={"lr": 0.3, "since": True}))


def test_a_list_of_trials_is_the_callers_own():
    state = empty()
    state.keep(numbered(0))
    state.of(Role.SEARCH).clear()
    assert state.of(Role.SEARCH)
