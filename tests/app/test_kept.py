"""What is kept between looks is what the store would tell if it were read anew."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from autotune.app import clock, kept
from autotune.app.points import Points
from autotune.studies import following
from autotune.studies.records import Point, Proposal, Role, TrialState
from autotune.studies.store import Store
from autotune.testing import sample


@pytest.fixture
def store(tmp_path):
    url = f"sqlite:///{tmp_path}/autotune.db"
    sample.make(url, "net", landscapes={"adan": sample.OPTIMIZERS["adan"]})
    with Store(url) as opened:
        yield opened


def looked(store, last=None):
    return kept.snapshot(store, "net", store.signature("net"), last)


def curves(store, last=None):
    search = store.search("net")
    return kept.curves(store, search.studies[0], search, last)


def anew(store):
    study = store.search("net").studies[0]
    return clock.dated(store.trials(study.id), following.ended(store, study.id))


def run(store, state=TrialState.COMPLETE, loss=0.5):
    study = store.search("net").studies[0]
    known = store.trials(study.id)[0]
    again = {name: getattr(known, name) for name in ("setting", "target")}
    trial = store.add_trial(study.id, Proposal(role=Role.SEARCH, origin="gp", seed=0, **again))
    attempt = store.begin(trial.id, "test")
    points = [Point(step=step, seconds=1.0, loss=loss + 1 / step) for step in (1, 2)]
    store.record(trial.id, attempt, state=state, step=2, loss=loss, points=points)
    return trial


def test_only_what_changed_is_read_again(store, monkeypatch):
    first = looked(store)
    run(store)
    waiting = run(store, TrialState.PAUSED)
    second = looked(store, first)
    store.stop_trials(waiting.study, {waiting.id: "over"})
    monkeypatch.setattr(store, "trials", None)
    third = looked(store, second)
    monkeypatch.undo()

    assert third.trials == {"adan": anew(store)}
    assert third.trials["adan"][-1].state is TrialState.STOPPED
    assert third.trials["adan"][0] is first.trials["adan"][0]
    assert third.comparison == looked(store).comparison


def test_a_search_of_the_same_name_is_another_one(store):
    last = looked(store)
    store.delete_search("net")
    store.create_search("net", {}, {}, {"lamb": {}}, {})

    assert looked(store, last).trials == {"lamb": ()}


def test_an_older_copy_of_a_database_is_read_anew(store):
    last = replace(looked(store), revision=10**6)
    run(store)

    assert looked(store, last).trials == {"adan": anew(store)}


@pytest.mark.parametrize("few", [1, following.FEW])
def test_points_of_trials_that_changed_are_read_again(store, monkeypatch, few):
    monkeypatch.setattr(following, "FEW", few)
    study = store.search("net").studies[0].id
    first = curves(store)
    trials = [run(store) for _ in range(2)]
    second = curves(store, first)

    assert dict(first.points) == {
        key: points
        for key, points in store.curves(study).items()
        if key not in {trial.id for trial in trials}
    }
    assert dict(second.points) == store.curves(study)
    assert curves(store, second).points is second.points


def test_a_value_is_made_once_for_each_signature():
    held, asked = kept.Kept(), []

    def made(last):
        asked.append(last)
        return len(asked)

    assert [held.at(signature, made) for signature in ("a", "a", "b", "b")] == [1, 1, 2, 2]
    assert asked == [None, 1]


def test_points_are_those_that_they_were_made_of():
    known = {
        3: (Point(step=1, seconds=0.5, loss=2.0), Point(step=4, seconds=1.0, train_loss=1.0)),
        7: (Point(step=4, seconds=1.0, loss=math.inf, accuracy=0.5),),
    }

    points = Points.of(known)

    assert dict(points) == known
    assert 5 not in points
    assert (points.most("loss"), points.most("accuracy")) == (1, 1)
    assert points.having("train_loss") == {3}
    assert points.at(1) == {3: 2.0}
    assert points.at(4) == {}
    assert points.reached([3, 7]) == {1: 1}
    assert points.holds([3, 3, 7], [1, 4, 4]) == [True, False, False]
    assert dict(Points.of({})) == {}
    assert Points.of({}).most("loss") == 0


def test_attempts_are_found_by_study_trial_and_whether_they_ended(store):
    study = store.search("net").studies[0].id
    done = run(store)
    begun = store.add_trial(study, Proposal(**_like(done)))
    store.begin(begun.id, "gpu7-0")
    every = store.attempts(study)

    assert following.newest(store, study, 3) == every[-3:]
    assert following.open_attempts(store, study) == [a for a in every if a.ended is None]
    assert following.attempts_at(store, done.id) == [a for a in every if a.trial == done.id]


def _like(trial):
    names = ("role", "origin", "setting", "seed", "target")
    return {name: getattr(trial, name) for name in names}
