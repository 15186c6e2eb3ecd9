"""Two ranks of a process group train the same trials: one asks, both are answered."""

from __future__ import annotations

import math

import pytest

from autotune.api.ranks import Ranks, mean
from autotune.studies.records import Role, TrialState
from autotune.studies.store import Store
from autotune.testing.ranks import together


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What two ranks saw of one search, and where it is stored."""
    folder = tmp_path_factory.mktemp("ranks")
    return together(folder), str(folder / "autotune.db")


def test_all_ranks_have_the_same_settings_and_stop_at_the_same_step(seen):
    (first, second), _ = seen
    assert first["trials"] == second["trials"]
    assert len({number for _, number, *_ in first["trials"]}) > 4
    assert first["verdict"] == second["verdict"]


def test_all_ranks_go_on_from_the_state_of_the_first(seen):
    resumed = [trial for trial in seen[0][1]["trials"] if trial[4]]
    assert resumed
    assert all(trial[6] == {"rank": 0, "step": trial[4]} for trial in resumed)


def test_what_is_refused_on_one_rank_is_the_same_sentence_on_all(seen):
    first, second = (each["refused"] for each in seen[0])
    assert first == second
    assert first[0].startswith("SpecError: adamw trial 0 trains until step")
    assert first[1:3] == [
        "SpecError: loss must be a number or a tensor of one, got 'low'",
        "SpecError: loss must be a number on one rank at least, got None on all",
    ]
    assert first[3].startswith("SpecError: adamw trial 0 has to be measured at step")
    assert first[4].startswith("AlreadyThere: search 'ranks' is already in")


def test_a_loss_is_the_mean_of_the_ranks_that_give_one(seen):
    with Store(seen[1], read_only=True) as store:
        assert store.curve(store.trials(1)[0].id)[0].loss == 0.75  # of the first alone
        judged = store.trials(1, Role.JUDGE)[0]
    away = abs(math.log10(judged.setting.hyper["lr"] / 3e-3))
    assert judged.loss == pytest.approx(1.5 * away + 1 / 27)


def test_a_loss_of_one_rank_that_is_not_finite_ends_the_trial_on_all(seen):
    with Store(seen[1], read_only=True) as store:
        states = [trial.state for trial in store.trials(1)]
    assert states[1] is TrialState.DIVERGED
    ends = [trial for trial in seen[0][0]["trials"] if trial[1] == 1]
    assert [trial[-1] for trial in ends] == [False]


def test_equal_losses_of_ranks_stay_what_they_are():
    assert mean([0.1, 0.1, 0.1]) == 0.1
    assert mean([0.5, 1.0]) == 0.75


def test_a_process_alone_is_the_first_of_one():
    ranks = Ranks()
    assert (ranks.count, ranks.first, ranks.collect(lambda: 7)) == (1, True, [7])
