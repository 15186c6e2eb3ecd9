"""What an export is told about a setting, read from a real store."""

from __future__ import annotations

import re

import pytest

from autotune.errors import MissingExtra, NotFound, NothingUsable, SpecError
from autotune.results import comparison
from autotune.results.best import best
from autotune.results.tuned import horizon, tuned
from autotune.scheduler.widening import warnings
from autotune.search.entrants import judged_row
from autotune.studies.records import Proposal, Role, TrialState
from autotune.studies.store import Store
from autotune.testing.trials import nested

SPACE = {
    "lr": ["log", 1e-4, 1e-1],
    "decayed": ["choice", ["yes", "no"]],
    "timescale": ["log", 10.0, 1e5],
    "warmup": ["linear", 0.0, 0.3],
    "gamma1": ["fixed", 2.0],
}
TASK = {"model": "resnet-mini", "data": "digits-pair", "steps": 60, "batch_size": 32}
DEFAULT = {"lr": 1e-3, "betas": [0.98, 0.92, 0.99], "weight_decay": 0.02}
BETTER = {"lr": 5e-3, "betas": [0.95, 0.92, 0.99], "weight_decay": 0.01}
INSIDE = {"lr": 5e-3, "decayed": "yes", "timescale": 1e3, "warmup": 0.1}


@pytest.fixture
def store(tmp_path):
    with Store(f"sqlite:///{tmp_path / 'autotune.db'}") as opened:
        yield opened


def begin(store, *optimizers):
    return store.create_search(
        "mini",
        spec={"model": "resnet-mini"},
        task=TASK,
        optimizers=dict.fromkeys(optimizers, SPACE),
        environment={"packages": {"adan-autotune": "0.1.0", "torch": "2.13.0"}},
    )


def ran(store, study, loss, **facts):
    """Add a trial that ended."""
    hyper = facts.pop("hyper", BETTER)
    end = {
        "state": facts.pop(
            "state", TrialState.COMPLETE if loss is not None else TrialState.DIVERGED
        ),
        "step": facts.pop("step", 60),
        "reason": facts.pop("reason", None),
    }
    given = {
        "role": Role.SEARCH,
        "origin": "sobol",
        "params": INSIDE,
        "warmup": 0.1,
        "seed": 0,
        "target": 60,
    }
    trial = store.add_trial(study.id, Proposal(**nested(**given | facts, hyper=hyper)))
    attempt = store.begin(trial.id, "test")
    store.record(trial.id, attempt, loss=loss, accuracy=None, seconds=1.0, points=(), **end)
    return trial.number


def judged(store, study, default, best, **facts):
    """Judge the default and a tuned setting, seed by seed."""
    ran(store, study, default[0], origin="preset:default", hyper=DEFAULT)
    number = ran(store, study, min(best), **facts)
    for seed, loss in enumerate(default, 11):
        told = {"role": Role.JUDGE, "origin": "default", "seed": seed, "source": 0}
        ran(store, study, loss, hyper=DEFAULT, **told)
    for seed, loss in enumerate(best, 11):
        told = {"role": Role.JUDGE, "origin": "tuned", "seed": seed, "source": number}
        ran(store, study, loss, **{**facts, **told})
    return number


@pytest.fixture
def adan(store):
    """One judged study: tuned 1.0, default 2.0."""
    study = begin(store, "adan").studies[0]
    judged(store, study, default=(1.99, 2.0, 2.01), best=(0.99, 1.0, 1.01))
    return study


def test_an_optimizer_that_is_not_installed_here_is_one_sentence(store):
    study = begin(store, "signum").studies[0]
    judged(store, study, default=(1.99, 2.0, 2.01), best=(0.99, 1.0, 1.01))
    found = comparison.load(store, "mini")
    for read in (
        lambda: tuned(store, "mini"),
        lambda: tuned(store, "mini", "signum", trial=1),
        lambda: best(store, "mini", None, 2),
        lambda: judged_row(found, "signum", "nothing to validate"),
    ):
        with pytest.raises(MissingExtra) as refused:
            read()
        assert isinstance(refused.value, ValueError)  # as of every unknown optimizer
        assert str(refused.value) == (
            "search 'mini' was run with optimizer 'signum', which is not installed here; install "
            "the package that registers it"
        )


def test_the_tuned_setting_comes_as_it_is_given_to_the_optimizer(store, adan):
    record = tuned(store, "mini")
    assert record.optimizer == "adan"
    assert record.hyper == {**BETTER, "betas": (0.95, 0.92, 0.99)}
    assert record.warmup == 0.1


def test_the_evidence_is_what_judging_found(store, adan):
    evidence = tuned(store, "mini").evidence
    assert evidence.loss.mean == pytest.approx(1.0)
    assert evidence.default.mean == pytest.approx(2.0)
    assert evidence.difference.mean == pytest.approx(-1.0)
    assert evidence.seeds == (11, 12, 13)
    assert evidence.trials == 8
    assert evidence.full_runs == 8.0
    assert evidence.verdict.startswith("tuned adan beats its default by 1.0000")


def test_the_provenance_names_the_trial_that_found_it(store, adan):
    come = tuned(store, "mini").provenance
    assert (come.search, come.trial, come.origin) == ("mini", 1, "trial 1 (sobol)")
    assert come.environment["packages"]["torch"] == "2.13.0"


def test_the_task_is_told(store, adan):
    assert tuned(store, "mini").tuned_on["data"] == "digits-pair"


def test_the_default_can_be_had_too(store, adan):
    record = tuned(store, "mini", which="default")
    assert record.hyper["lr"] == 1e-3
    assert record.evidence.loss.mean == pytest.approx(2.0)
    assert record.evidence.verdict == "the default of adan, for comparison"


def test_equal_stores_give_equal_records(store, adan):
    assert tuned(store, "mini") == tuned(store, "mini")


def test_without_a_name_the_optimizer_with_the_lowest_loss_is_taken(store):
    worse, best = begin(store, "adamw", "adan").studies
    judged(store, worse, default=(2.0, 2.1), best=(1.5, 1.6))
    judged(store, best, default=(2.0, 2.1), best=(1.0, 1.1))
    assert tuned(store, "mini").optimizer == best.optimizer
    assert tuned(store, "mini", worse.optimizer).optimizer == worse.optimizer


def test_another_optimizer_is_measured_against_tuned_adamw(store):
    studies = {study.optimizer: study for study in begin(store, "adamw", "adan").studies}
    judged(store, studies["adamw"], default=(2.0, 2.1), best=(1.5, 1.6))
    judged(store, studies["adan"], default=(2.0, 2.1), best=(1.0, 1.1))
    assert "tuned adamw" in tuned(store, "mini", "adan").evidence.reference_verdict
    assert tuned(store, "mini", "adamw").evidence.reference_verdict is None


def test_one_trial_speaks_for_itself_only(store, adan):
    record = tuned(store, "mini", trial=1)
    assert record.evidence.loss.n == 1
    assert record.provenance.origin == "trial 1 (sobol)"
    assert record.warnings[0] == "only 1 seed, fewer than 3: the ranking may be luck"


def test_a_trial_stopped_early_says_so(store, adan):
    number = ran(store, adan, 1.2, state=TrialState.STOPPED, step=20)
    assert tuned(store, "mini", trial=number).warnings[0] == (
        "its loss was read at step 20 of 60, before the schedule ended"
    )


def test_the_horizon_is_always_warned_of(store, adan):
    assert tuned(store, "mini").warnings == (
        "tuned over 60 steps at batch size 32: re-tune or re-check lr when these change (on "
        "small tasks it did best as it is, up to 4x the batch and 10x the steps; autotune validate "
        "measures longer runs)",
    )


def test_images_that_minutes_made_smaller_are_warned_of():
    task = {"steps": 40, "batch_size": 32, "image_size": 16}
    own, smaller = horizon(task, "adan"), {**task, "shortened_from": {"image_size": 32}}
    assert horizon(smaller, "adan") == own.replace(
        "batch size 32:", "batch size 32 on images of 16 pixels a side, not 32:"
    )


def test_few_seeds_are_warned_of(store):
    study = begin(store, "adan").studies[0]
    judged(store, study, default=(2.0, 2.1), best=(1.0, 1.1))
    expected = "only 2 seeds, fewer than 3: the ranking may be luck"
    assert expected in tuned(store, "mini").warnings


def test_a_value_at_the_end_of_its_range_is_warned_of(store):
    study = begin(store, "adan").studies[0]
    edge = {**INSIDE, "lr": 0.095}
    judged(store, study, default=(2.0, 2.1), best=(1.0, 1.1), params=edge)
    assert tuned(store, "mini").warnings[0] == (
        "lr = 0.095 is at the upper end of its range, 0.0001 to 0.1: the best may lie beyond"
    )


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"lr": 1.1e-4}, ["lr"]),
        ({"lr": 1.3e-4}, []),
        ({"lr": 0.095}, ["lr"]),
        ({"lr": 0.08}, []),
        ({"warmup": 0.0}, []),
        ({"warmup": 0.299}, ["warmup"]),
        ({"decayed": "yes", "timescale": 10.0}, ["timescale"]),
        ({"decayed": "no", "timescale": 10.0}, []),
        ({"gamma1": 2.0}, []),
    ],
)
def test_two_hundredths_of_a_range_in_its_scale_are_its_end(params, named):
    assert [re.match(r"\w+", text)[0] for text in warnings(params, SPACE)] == named


@pytest.mark.parametrize(
    ("optimizer", "meaning"),
    [
        ("adan", "multiplied by lr"),
        ("adamw-win2", "multiplied by lr"),
        ("sgd", "added to the gradient (L2)"),
        ("sgd-win", "multiplied by lr"),
        ("adam-win2", "added to the gradient (L2)"),
        ("adam-nema", "added to the gradient (L2)"),
        ("sgd-grokfast", "added to the gradient (L2)"),
        ("lamb", "added to the update before the trust ratio, then multiplied by lr"),
    ],
)
def test_what_weight_decay_means_depends_on_the_optimizer(store, optimizer, meaning):
    study = begin(store, optimizer).studies[0]
    judged(store, study, default=(2.0, 2.1), best=(1.0, 1.1))
    assert tuned(store, "mini").conventions.weight_decay == meaning


def test_an_optimizer_the_search_lacks_is_refused(store, adan):
    sentence = r"^search 'mini': unknown optimizer 'adna'; did you mean 'adan'\? \(known: adan\)$"
    with pytest.raises(NotFound, match=sentence):
        tuned(store, "mini", "adna")


def test_an_unknown_search_is_refused(store, adan):
    with pytest.raises(NotFound, match="mino"):
        tuned(store, "mino")


def test_a_trial_the_study_lacks_is_refused(store, adan):
    sentence = r"^no trial 99 of adan in search 'mini'; its 8 trials count from 0$"
    with pytest.raises(NotFound, match=sentence):
        tuned(store, "mini", trial=99)


def test_a_trial_among_several_optimizers_needs_a_name(store):
    begin(store, "adamw", "adan")
    sentence = r"^trial 0 must be of one optimizer; name one of mini/adamw, mini/adan$"
    with pytest.raises(SpecError, match=sentence):
        tuned(store, "mini", trial=0)


def test_a_diverged_trial_cannot_be_exported(store, adan):
    number = ran(store, adan, None, reason="loss was nan at step 4")
    sentence = (
        rf"^trial {number} of adan in search 'mini' has no loss, it is diverged: "
        r"loss was nan at step 4$"
    )
    with pytest.raises(NothingUsable, match=sentence):
        tuned(store, "mini", trial=number)


def test_a_search_that_judged_nothing_yet_has_nothing_to_export(store):
    study = begin(store, "adan").studies[0]
    ran(store, study, 1.0)
    sentence = (
        r"^the tuned setting of adan in search 'mini' has no loss: no judging run has ended; "
        r"continue the search, or name one trial$"
    )
    with pytest.raises(NothingUsable, match=sentence):
        tuned(store, "mini")


def test_a_default_that_diverged_is_no_setting_to_export(store):
    study = begin(store, "adan").studies[0]
    told = {"role": Role.JUDGE, "origin": "default", "hyper": DEFAULT, "seed": 11, "source": 0}
    ran(store, study, None, reason="loss was nan at step 4", **told)
    sentence = (
        r"^the default setting of adan in search 'mini' has no loss: loss was nan at step 4; "
        r"continue the search, or name one trial$"
    )
    with pytest.raises(NothingUsable, match=sentence):
        tuned(store, "mini", which="default")


def test_there_are_two_settings_to_ask_for(store, adan):
    with pytest.raises(SpecError, match=r"^which must be 'tuned' or 'default', got 'best'$"):
        tuned(store, "mini", which="best")
