"""What tuning is compared with: what the authors recommend, or a default that is called one."""

from dataclasses import replace

import pytest

from autotune.optimizers import defaults, presets
from autotune.results.comparison import compare
from autotune.space.presets import presets_of, space_of
from autotune.studies.records import Role, SearchRecord, SearchState, StudyRecord, TrialState
from autotune.studies.spec import parse
from autotune.testing.trials import search_trial


def reference(optimizer, **space):
    spec = parse({"model": "net", "optimizers": [optimizer], "space": space})
    return presets_of(optimizer, space_of(spec, optimizer))[0]


def row(optimizer, first, tuned=(0.5, 0.6)):
    """Return the verdicts of a search whose trial 0 was proposed as ``first``."""

    def judged(source, losses, setting):
        return [
            replace(
                search_trial(10 * source + i, role=Role.JUDGE, source=source, seed=i, loss=loss,
                             state=TrialState.COMPLETE, step=81, origin="default"),
                setting=setting,
            )
            for i, loss in enumerate(losses)
        ]  # fmt: skip

    zero = replace(search_trial(0, origin=first.origin), setting=first.setting)
    other = replace(first.setting, hyper={**first.setting.hyper, "lr": 0.5})
    trials = [zero, *judged(0, [1.0, 1.1], first.setting), *judged(1, tuned, other)]
    study = StudyRecord(id=1, search="s", optimizer=optimizer, space={})
    when = {"created": None, "updated": None}
    search = SearchRecord(
        id=1, name="s", spec={}, task={}, state=SearchState.COMPLETE, seconds=1.0,
        studies=(study,), **when,
    )  # fmt: skip
    return compare(search, {optimizer: trials}, {optimizer: 1 if tuned else 0}).rows[0]


def test_adan_is_compared_with_what_its_authors_recommend():
    first = reference("adan")
    assert (first.setting.hyper["lr"], first.setting.hyper["weight_decay"]) == (5e-3, 0.02)
    assert row("adan", first).verdict == (
        "tuned adan beats the authors' recommended setting (lr 0.005, weight decay 0.02) by "
        "0.5000 (95% interval 0.5000 to 0.5000)"
    )


@pytest.mark.parametrize(
    ("optimizer", "lr", "decay"),
    [("adamw-win2", 2e-3, 0.05), ("adam-win", 1e-3, 1e-5), ("adan-win", 5e-3, 0.02)],
)
def test_so_are_the_forms_with_win(optimizer, lr, decay):
    found = reference(optimizer)
    assert found.origin == "preset:authors"
    assert (found.setting.hyper["lr"], found.setting.hyper["weight_decay"]) == (lr, decay)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "lamb", "sgd-win"])
def test_without_a_recommendation_it_is_the_constructors_default_and_called_so(optimizer):
    found = reference(optimizer)
    assert found.origin == "preset:default"
    assert found.setting.hyper["lr"] == defaults(optimizer)["lr"]
    assert row(optimizer, found).verdict.startswith(f"tuned {optimizer} beats its default by 0.5")


def test_the_constructors_defaults_stay_those_of_the_authors_code():
    assert (defaults("adan")["lr"], defaults("adan")["weight_decay"]) == (1e-3, 0.0)
    assert presets("adan")[1]["betas"] == (0.8, 0.9, 0.96)


def test_a_stored_search_keeps_its_own_trial_0_and_its_word():
    old = replace(reference("adan"), origin="preset:default")
    assert "beats its default by" in row("adan", old).verdict


def test_a_recommendation_that_the_space_forbids_says_that_it_was_moved():
    found = reference("adan", lr={"high": 1e-3})
    assert row("adan", found, ()).verdict == (
        "tuning adan found nothing better than the authors' recommended setting, moved into the "
        "space (lr 0.001, weight decay 0.02)"
    )
