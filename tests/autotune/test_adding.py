"""Trials that were measured elsewhere: who learns of them, and what they never do."""

from __future__ import annotations

import math

import pytest
from click.testing import CliRunner

from autotune import Tuner
from autotune.cli import main
from autotune.errors import AlreadyThere, SpecError, UnknownName
from autotune.search import details
from autotune.search.adding import Measured, curve
from autotune.search.asking import Asker
from autotune.studies.records import Role, TrialState
from autotune.studies.store import Store
from autotune.testing.remote import loss_of

GOOD = {"lr": 0.003, "weight_decay": 0.02, "betas": (0.85, 0.99)}
GRID = (("adamw", GOOD, {9: 0.1}), ("adamw", {"lr": 0.0004}, {1: 2.0, 3: 1.4}))


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/autotune.db"


def tuner(url, **changes):
    given = {"steps": 9, "trials": 7, "seeds": 2, "sampler": "tpe", "pruner": "none"}
    own = {"name": "bowl", "storage": url, "progress": "off", **given, **changes}
    return Tuner(own.pop("optimizers", ["adamw"]), **own)


def train(tuner, most=100):
    """Train trials as they are asked for, at most so many."""
    for _ in range(most):
        if (trial := tuner.ask()) is None:
            return
        losses = {step: loss_of(trial.hyper, trial.seed, step) for step in trial.evaluate}
        tuner.tell(trial, losses)


def stored(url):
    """Return what defines each trial, in the order of numbers."""
    with Store(url) as store:
        (study,) = store.search("bowl").studies
        return [
            (t.number, t.role, t.origin, str(t.setting), t.seed, t.source, t.state, t.loss)
            for t in store.trials(study.id)
        ]


def ran(url):
    """Return the settings that the search tried itself, in order."""
    return [one[3] for one in stored(url) if one[1] is Role.SEARCH]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search to which two trials were added, before and after its first ones."""
    url = f"sqlite:///{tmp_path_factory.mktemp('whole')}/autotune.db"
    with tuner(url) as one:
        assert one.add_trial(*GRID[0], origin="the grid of\nlast week") == 1
        train(one, 3)
        assert one.add_trial(*GRID[1]) == 3
        train(one)
    return url


def test_samplers_learn_of_it_and_what_is_tried_in_any_case_stays(whole, url):
    with tuner(url) as one:
        train(one)
    assert ran(url)[:2] == ran(whole)[:2]
    assert ran(url)[2:] != ran(whole)[2:]


def test_it_is_not_counted_not_judged_and_marked_wherever_it_is_shown(whole):
    trials = stored(whole)
    assert [one[0] for one in trials] == list(range(len(trials)))
    assert [(one[0], one[2]) for one in trials if one[1] is Role.ADDED] == [
        (1, "added: the grid of last week"), (3, "added: measured elsewhere"),
    ]  # fmt: skip
    assert len(ran(whole)) == 7
    assert not {one[5] for one in trials} & {1, 3}  # nothing runs their settings again
    found = details.search(whole, "bowl")
    with Store(whole) as store:
        (row,) = details.comparison(store, "bowl").rows
        (study,) = store.search("bowl").studies
        best = min(t.loss for t in store.trials(study.id, Role.SEARCH))
    assert (study.added, sum(study.counts.values())) == (2, len(trials) - 2)
    assert study.best == best > GRID[0][2][9]
    steps = sum(t.step for t in found["trials"]["adamw"] if t.role is not Role.ADDED)
    assert (row.trials, row.runs) == (len(trials) - 2, steps / 9)


def test_commands_say_what_it_is(whole):
    def said(*words):
        done = CliRunner().invoke(main, [*words, "--storage", whole])
        assert done.exit_code == 0, done.stderr
        return " ".join(done.stdout.split())

    sentence = "samplers know of trials that were measured elsewhere, and none of them counts"
    assert ", 2 added" in said("show", "bowl")
    assert "added: the grid of last week; samplers know it" in said("show", "bowl/adamw", "1")
    assert sentence in said("compare", "bowl")
    assert sentence in said("export", "bowl", "--as", "yaml")
    chosen = said("export", "bowl", "--trial", "1", "--as", "yaml")
    assert "a trial that was measured elsewhere: this search did not run its setting" in chosen
    assert "seeds: []" in chosen


def test_a_search_that_is_left_and_gone_on_with_decides_the_same(whole, url):
    with tuner(url) as one:
        one.add_trial(*GRID[0], origin="the grid of\nlast week")
        train(one, 1)
    with tuner(url) as one:
        train(one, 2)
    with tuner(url) as one:
        one.add_trial(*GRID[1])
    for most in (1, 5, 100):
        with tuner(url) as one:
            train(one, most)
    assert stored(url) == stored(whole)


def test_it_moves_no_place_of_the_trials_that_are_run(url, tmp_path):
    calm = f"sqlite:///{tmp_path}/calm.db"
    given = {"sampler": "auto", "pruner": "auto", "trials": None, "runs": 8, "steps": 27}
    given |= {"finalists": 1}
    with tuner(calm, **given) as one:
        train(one)
    with tuner(url, **given) as one:
        for lr in (0.001, 0.002):
            one.add_trial("adamw", {"lr": lr}, {27: math.nan})
        train(one)
    # The settings after these are drawn by what is known.
    first, other = ([one for one in stored(it) if one[1] is Role.SEARCH][:9] for it in (calm, url))
    assert [one[2:] for one in other] == [one[2:] for one in first]
    assert [one[0] for one in other] == [0, *(one[0] + 2 for one in first[1:])]


def test_what_is_told_twice_is_stored_once(url):
    with tuner(url) as one:
        assert [one.add_trial(*GRID[0]) for _ in range(2)] == [1, 1]
        assert one.add_trial("adamw", GOOD, {9: 0.2}) == 2  # another run of the setting
        assert one.add_trial("adamw", GOOD, {3: math.inf}) == 3
    states = [(one[6], one[7]) for one in stored(url)]
    assert states == [
        (TrialState.COMPLETE, 0.1), (TrialState.COMPLETE, 0.2), (TrialState.DIVERGED, None),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def open_(tmp_path_factory):
    with tuner(f"sqlite:///{tmp_path_factory.mktemp('open')}/autotune.db") as one:
        yield one


@pytest.mark.parametrize(
    ("optimizer", "hyper", "losses", "sentence"),
    [
        ("adan", {}, {9: 1.0}, "has an optimizer that is not searched; give one of adamw"),
        ("adamw", {"lr": 5.0}, {9: 1.0}, "which has no lr 5.0 (the nearest is 0.1)"),
        ("adamw", {"eps": 1e-3}, {9: 1.0}, "which has no eps 0.001 (the nearest is 1e-08)"),
        ("adamw", {"lr": math.nan}, {9: 1.0}, "lr must be finite, got nan"),
        ("adamw", {"lr": -1.0}, {9: 1.0}, "lr must be at least 0"),
        ("adamw", {"lx": 1.0}, {9: 1.0}, "unknown argument 'lx'"),
        ("adamw", {}, {}, "has no loss; give one at step 9"),
        ("adamw", {}, {27: 1.0}, "at most 9, a full run of this search, got step 27"),
        ("adamw", {}, {0: 1.0}, "have to rise from 1 to at most 9"),
        ("adamw", {}, {2: 1.0}, "at none of the steps at which this search compares"),
        ("adamw", {}, {3: math.nan, 9: 1.0}, "only its last loss may be missing or not finite"),
    ],
)
def test_what_cannot_be_a_trial_of_the_search_is_refused(open_, optimizer, hyper, losses, sentence):
    with pytest.raises((SpecError, UnknownName)) as caught:
        open_.add_trial(optimizer, hyper, losses)
    assert sentence in str(caught.value)
    assert stored(open_._url) == []


def test_a_warm_up_outside_the_space_is_refused(open_):
    with pytest.raises(SpecError, match=r"no warmup 0\.9 \(the nearest is 0\.5\)"):
        open_.add_trial("adamw", {}, {9: 1.0}, warmup=0.9)


def test_a_search_that_is_over_takes_none(whole):
    with tuner(whole) as one, pytest.raises(AlreadyThere, match="over, so nothing would learn"):
        one.add_trial(*GRID[0])


def test_it_waits_for_whoever_decides(url, monkeypatch):
    tries, own = [], Asker.add

    def add(self, measured):
        tries.append(measured)
        with Store(url) as store:
            if len(tries) == 1:
                assert store.take_turn(1, "another")
            elif len(tries) == 2:
                store.leave_turn(1, "another")
        return own(self, measured)

    monkeypatch.setattr(Asker, "add", add)
    with tuner(url) as one:
        assert one.add_trial(*GRID[0]) == 1
    assert tries == [Measured(optimizer="adamw", hyper=GOOD, points=curve(GRID[0][2]))] * 2


def test_optimizers_that_began_with_unequal_knowledge_are_told_so(url):
    with tuner(url, optimizers=["adan", "adamw"], trials=3) as one:
        one.add_trial(*GRID[0])
        train(one)
        said = str(one.result)
    assert "adan none, adamw 1; so optimizers may differ for what was known alone" in said
