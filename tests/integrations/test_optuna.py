"""Optuna with our space: in real studies of the installed version."""

from __future__ import annotations

import math

import optuna
import pytest
import torch

from autotune import optimizers
from autotune.errors import SpecError
from autotune.integrations.optuna import Guard, enqueue_presets, guard, sampler, suggest
from autotune.space.config import known, space_of

INFEASIBLE = 1.0
NOTHING_PRUNED = optuna.pruners.NopPruner()


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def study(**more):
    return optuna.create_study(**{"sampler": sampler(seed=0), "pruner": NOTHING_PRUNED, **more})


def bowl(suggestion):
    """Return a loss that diverges just above the best learning rate."""
    hyper, _ = suggestion
    far = math.log10(hyper["lr"]) + 2
    return math.nan if far > 0.2 else far**2


@pytest.mark.parametrize("optimizer", optimizers.names())
def test_a_trial_s_setting_is_one_of_the_optimizer_s_space(optimizer):
    trial = study().ask()
    hyper, warmup = suggest(trial, optimizer, steps=500)
    space = space_of(optimizer, steps=500)
    assert set(trial.params) == set(space)
    assert (hyper, warmup) == (
        space.setting(trial.params).hyper,
        space.setting(trial.params).warmup,
    )
    optimizers.create(optimizer, [torch.nn.Parameter(torch.zeros(2, 2))], **hyper)


@pytest.mark.parametrize("optimizer", optimizers.names())
def test_known_settings_come_first_and_unchanged(optimizer):
    tried = study()
    number = enqueue_presets(tried, optimizer, steps=500)
    assert enqueue_presets(tried, optimizer, steps=500) == number
    assert len(tried.trials) == number
    for candidate in known(optimizer, space_of(optimizer, steps=500)):
        trial = tried.ask()
        hyper, warmup = suggest(trial, optimizer, steps=500)
        assert trial.user_attrs["origin"] == candidate.origin
        assert (hyper, warmup) == (candidate.setting.hyper, candidate.setting.warmup)


def test_a_slow_mean_fits_into_the_runs():
    longest = 1 - 0.5 ** (3 / 500)
    for seed in range(9):
        trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed)).ask()
        suggest(trial, "ademamix", steps=500)
        assert trial.params["one_minus_beta3"] >= longest * (1 - 1e-9)


def test_what_the_space_fixes_is_not_chosen():
    trial = study().ask()
    hyper, _ = suggest(trial, "adan", steps=9, space={"lr": 1e-3, "warmup": {"high": 0.2}})
    assert hyper["lr"] == 1e-3
    assert "lr" not in trial.params
    assert trial.params["warmup"] <= 0.2


def test_the_best_parameters_give_their_setting_again():
    tried = study()
    tried.optimize(lambda trial: abs(suggest(trial, "adan", steps=9).hyper["lr"]), n_trials=3)
    again = suggest(optuna.trial.FixedTrial(tried.best_params), "adan", steps=9)
    assert again.hyper["lr"] == tried.best_value


def test_a_setting_builds_the_optimizer_and_its_schedule():
    adan = suggest(study().ask(), "adan", steps=10, space={"lr": 0.1, "warmup": 0.2})
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
    optimizer = adan.build(model)
    schedule = adan.schedule(optimizer)
    decays = [group["weight_decay"] for group in optimizer.param_groups]
    assert decays == [adan.hyper["weight_decay"], 0.0]
    assert schedule.get_last_lr() == pytest.approx([0.1 / 3] * 2)


def test_steps_of_another_length_are_refused():
    tried = study(study_name="digits")
    enqueue_presets(tried, "adan", steps=500)
    sentence = (
        r"^study 'digits' has runs of 500 steps, whose losses do not compare with those after 900; "
        r"give another study$"
    )
    with pytest.raises(SpecError, match=sentence):
        suggest(tried.ask(), "adan", steps=900)
    with pytest.raises(SpecError, match=sentence):
        enqueue_presets(tried, "adamw", steps=900)


@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_a_schedule_needs_whole_steps(steps):
    with pytest.raises(SpecError, match=r"^steps must be a whole number of at least 1, got "):
        suggest(study().ask(), "adan", steps=steps)


def test_an_unknown_optimizer_or_parameter_suggests_the_nearest():
    with pytest.raises(SpecError, match=r"^unknown optimizer 'adna'; did you mean 'adan'\? "):
        suggest(study().ask(), "adna", steps=9)
    with pytest.raises(SpecError, match=r"^unknown parameter 'lrr'; did you mean 'lr'\? "):
        suggest(study().ask(), "adan", steps=9, space={"lrr": 1.0})


def run(trial, losses=None):
    """Run a trial whose losses are given, else fall to a bowl's."""
    suggestion = suggest(trial, "adan", steps=3)
    end = bowl(suggestion)
    with guard(trial) as told:
        for step, loss in enumerate(losses or (end + 2, end + 1, end), 1):
            if not told.report(step, loss):
                break
    return told.loss


def test_a_study_with_divergence_ends_near_the_best_rate():
    tried = study()
    enqueue_presets(tried, "adan", steps=3)
    tried.optimize(run, n_trials=25)
    assert tried.best_value < 0.01
    diverged = [trial for trial in tried.trials if "diverged" in trial.user_attrs]
    assert {trial.state for trial in tried.trials} == {optuna.trial.TrialState.COMPLETE}
    assert 0 < len(diverged) < 15
    assert all(trial.constraints == {"diverged": INFEASIBLE} for trial in diverged)
    assert tried.best_trial.constraints == {"diverged": -1.0}


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_makes_a_trial_infeasible_with_the_worst_loss(loss):
    tried = study()
    tried.optimize(lambda trial: run(trial, (5.0, 4.0)), n_trials=1)
    tried.optimize(lambda trial: run(trial, (3.0, loss)), n_trials=1)
    assert tried.trials[1].value == 4.0
    assert tried.trials[1].constraints == {"diverged": INFEASIBLE}
    assert tried.trials[1].user_attrs["diverged"] == f"loss {loss} at step 2"
    assert tried.best_trial.number == 0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FloatingPointError("overflow in exp"), "FloatingPointError: overflow in exp"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory: OutOfMemoryError"),
        (MemoryError(), "out of memory: MemoryError"),
    ],
)
def test_an_exception_that_says_so_makes_a_trial_infeasible(error, reason):
    def objective(trial):
        with guard(trial) as told:
            told.report(1, 7.0)
            raise error
        return told.loss

    tried = study()
    tried.optimize(objective, n_trials=1)
    assert tried.trials[0].value == 7.0
    assert tried.trials[0].constraints == {"diverged": INFEASIBLE}
    assert tried.trials[0].user_attrs["diverged"].startswith(reason)


def test_a_trial_that_diverges_before_any_loss_is_pruned():
    tried = study()
    tried.optimize(lambda trial: run(trial, (math.nan,)), n_trials=1)
    (trial,) = tried.trials
    assert trial.state is optuna.trial.TrialState.PRUNED
    assert trial.constraints == {"diverged": INFEASIBLE}


def test_a_mistake_in_the_objective_is_still_an_exception():
    def objective(trial):
        with guard(trial) as told:
            told.report(1, 7.0)
            raise KeyError("batch")

    tried = study()
    with pytest.raises(KeyError, match="batch"):
        tried.optimize(objective, n_trials=1)
    assert tried.trials[0].state is optuna.trial.TrialState.FAIL


def test_a_pruner_stops_a_trial_but_not_at_its_end():
    tried = study(pruner=optuna.pruners.ThresholdPruner(upper=10.0))
    tried.optimize(lambda trial: run(trial, (1.0, 20.0, 1.0)), n_trials=1)
    tried.optimize(lambda trial: run(trial, (1.0, 1.0, 20.0)), n_trials=1)
    pruned, ended = tried.trials
    assert pruned.state is optuna.trial.TrialState.PRUNED
    assert pruned.intermediate_values == {1: 1.0, 2: 20.0}
    assert pruned.constraints == {"diverged": -1.0}
    assert ended.state is optuna.trial.TrialState.COMPLETE


def test_an_objective_may_prune_by_itself():
    def objective(trial):
        with guard(trial) as told:
            told.report(1, 7.0)
            raise optuna.TrialPruned

    tried = study()
    tried.optimize(objective, n_trials=1)
    assert tried.trials[0].state is optuna.trial.TrialState.PRUNED
    assert tried.trials[0].constraints == {"diverged": -1.0}


def test_accuracy_is_kept_with_the_trial():
    def objective(trial):
        with guard(trial) as told:
            told.report(1, 7.0, 0.5)
        return told.loss

    tried = study()
    tried.optimize(objective, n_trials=1)
    assert tried.trials[0].user_attrs["accuracy"] == 0.5


def test_a_guard_without_a_loss_says_so():
    trial = study().ask()
    told = Guard(trial)
    with pytest.raises(SpecError, match=r"^the loss is known after the with block of guard"):
        _ = told.loss
    with pytest.raises(SpecError, match=r"^no loss was reported; call report\(step, loss\) in "):
        told.__exit__(None, None, None)


@pytest.mark.parametrize("directions", [["maximize"], ["minimize", "maximize"]])
def test_a_study_that_does_not_minimise_the_loss_alone_is_refused(directions):
    trial = optuna.create_study(directions=directions).ask()
    sentence = f"^guard needs a study that minimises the loss alone, got one to {directions[0]}"
    with pytest.raises(SpecError, match=sentence):
        guard(trial)
