"""What was measured of gradients is kept by step, and goes where its steps are taken again."""

import pytest

from autotune.studies import gradients
from autotune.studies.records import Gradient, TrialState


@pytest.fixture
def trial(store, search, proposal):
    return store.add_trial(search.studies[0].id, proposal())


def norm(step, value=1.0):
    return Gradient(step=step, l1=2 * value, l2=value)


def test_steps_measured_again_replace_what_was_there(store, trial):
    attempt = store.begin(trial.id, "w")
    store.add_points(trial.id, attempt, (), [norm(1), norm(2), Gradient(step=3)])
    store.add_points(trial.id, attempt, (), [norm(2, 5.0), norm(3, 6.0)])
    noisy = Gradient(step=4, l1=1.0, l2=1.0, variance=3.0, square=-0.5)
    store.record(trial.id, attempt, state=TrialState.PAUSED, step=4, measured=[noisy])
    assert gradients.of(store, trial.id) == (norm(1), norm(2, 5.0), norm(3, 6.0), noisy)


def test_what_lies_behind_the_last_save_goes_with_a_lost_worker(store, trial):
    attempt = store.begin(trial.id, "w")
    store.record(trial.id, attempt, state=TrialState.PAUSED, step=2, measured=[norm(1), norm(2)])
    attempt = store.begin(trial.id, "w")
    store.add_points(trial.id, attempt, (), [norm(3)])
    store.lose(trial.id, attempt, "its worker died")
    assert gradients.of(store, trial.id) == (norm(1), norm(2))


def test_a_trial_that_is_taken_up_again_begins_without(store, search, trial):
    attempt = store.begin(trial.id, "w")
    store.record(trial.id, attempt, state=TrialState.FAILED, step=1, measured=[norm(1)])
    store.take_up(search.id, [trial.id])
    assert gradients.of(store, trial.id) == ()


def test_nothing_is_left_of_a_void_trial(store, trial):
    attempt = store.begin(trial.id, "w")
    store.record(trial.id, attempt, state=TrialState.PAUSED, step=1, measured=[norm(1)])
    store.void(trial.id, "void: its GPU was broken", again=False)
    assert gradients.of(store, trial.id) == ()
