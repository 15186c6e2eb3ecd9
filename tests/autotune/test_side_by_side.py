"""Runs side by side do what each would do alone, to rounding."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from autotune import registry
from autotune.errors import SpecError
from autotune.tasks.replicas import Replicas
from autotune.tasks.resolve import resolve
from autotune.tasks.supervised import Supervised
from autotune.testing.trials import setting_of
from autotune.training.side_by_side import Member, SideBySide, loss_curves

SMALL = {"mlp": {"steps": 12}, "gpt-pico": {"steps": 9, "batch_size": 4}}


def batchable():
    made = [resolve(name) for name in registry.names("autotune.tasks")]
    return [task.name for task in made if isinstance(task, Supervised) and task.side_by_side]


def member(hyper, warmup, seed):
    return Member(setting=setting_of(hyper=hyper, warmup=warmup), seed=seed)


def members(optimizer="adan-win"):
    betas = (0.9, 0.9, 0.99) if "adan" in optimizer else (0.9, 0.99)
    return [
        member({"lr": lr, "weight_decay": decay, "betas": betas}, warm, seed)
        for lr, decay, warm, seed in [
            (3e-3, 0.02, 0.0, 1),
            (2e-2, 0.4, 0.2, 2),
            (1e-3, 0.0, 0.5, 1),
        ]
    ]


def alone(task, optimizer, member, rungs):
    """Return what the ordinary loop measures."""
    [found] = loss_curves(plain(task), optimizer, [member], rungs)
    return found


def plain(task):
    """Return the task as one that has no form for replicas."""
    return replace(task, side_by_side=None)


def test_the_small_models_can_be_trained_side_by_side():
    assert batchable() == ["gpt-pico", "mlp"]


@pytest.mark.parametrize("name", batchable())
def test_losses_and_gradients_are_those_of_single_runs(name):
    task, seeds = resolve(name, **SMALL[name]), [3, 4, 3]
    together = Replicas(task, seeds)
    losses = together.losses(2)
    losses.sum().backward()
    for k, seed in enumerate(seeds):
        run = task.start(seed)
        loss = run.loss(2)
        loss.backward()
        torch.testing.assert_close(losses[k], loss)
        for weight, p in run.model.named_parameters():
            torch.testing.assert_close(
                together.weights[weight].grad[k], p.grad, rtol=1e-4, atol=1e-6
            )


@pytest.mark.parametrize("name", batchable())
def test_measurements_are_those_of_single_runs(name):
    task = resolve(name, **SMALL[name])
    for seed, found in zip([3, 4], Replicas(task, [3, 4]).evaluate(), strict=True):
        expected = task.start(seed).evaluate()
        assert math.isclose(found.loss, expected.loss, rel_tol=1e-5)
        assert math.isclose(found.accuracy, expected.accuracy, abs_tol=1e-4)


@pytest.mark.parametrize("optimizer", ["adan-win", "adamw", "lamb-win2"])
@pytest.mark.parametrize("name", ["mlp", "gpt-pico"])
def test_curves_are_those_of_single_runs(name, optimizer):
    task = resolve(name, **SMALL[name])
    rungs = (3, task.steps)
    given = members(optimizer)
    found = loss_curves(task, optimizer, given, rungs)
    for member, curve in zip(given, found, strict=True):
        np.testing.assert_allclose(curve, alone(task, optimizer, member, rungs), rtol=1e-4)


def test_a_diverged_run_is_infinite_and_leaves_the_others_as_they_are():
    task, (first, second, third) = resolve("mlp", steps=8), members()
    wild = member({**second.setting.hyper, "lr": 1e38}, 0.0, 2)
    with_wild = loss_curves(task, "adan-win", [first, wild, third], (2, 8))
    without = loss_curves(task, "adan-win", [first, members()[1], third], (2, 8))
    assert with_wild[1].tolist() == [math.inf, math.inf]
    np.testing.assert_array_equal(with_wild[[0, 2]], without[[0, 2]])


def test_a_diverged_single_run_is_infinite_from_then_on():
    wild = member({"lr": 1e38}, 0.0, 2)
    found = alone(resolve("mlp", steps=8), "adan-win", wild, (2, 8))
    assert found.tolist() == [math.inf, math.inf]


def test_every_run_follows_its_own_schedule():
    runs = SideBySide(resolve("mlp", steps=10), "adan-win", members())
    runs.step(0)
    rates = [row.param_groups[0]["lr"] for row in runs.optimizer.rows]
    assert rates == pytest.approx([3e-3, 2e-2 / 3, 1e-3 / 6])


def test_a_model_without_such_a_form_is_refused():
    with pytest.raises(
        SpecError,
        match=r"^model 'resnet-mini' cannot be trained side by side, or is no quicker that way; "
        r"run it on the engine 'processes'$",
    ):
        Replicas(resolve("resnet-mini"), [1])


def test_what_is_not_decayed_alone_is_not_decayed_together():
    decayed, exempt = Replicas(resolve("mlp"), [1, 2]).groups()
    assert [tuple(p.shape) for p in exempt["params"]] == [(2, 32), (2, 100)]
    assert ("weight_decay" in decayed, exempt["weight_decay"]) == (False, 0.0)


def test_cross_entropy_of_replicas_is_a_mean_each():
    torch.manual_seed(0)
    together = Replicas(resolve("mlp"), [1, 2])
    logits, labels = torch.randn(2, 5, 100), torch.randint(100, (2, 5))
    expected = [cross_entropy(logits[k], labels[k]) for k in range(2)]
    torch.testing.assert_close(together._each(logits, labels), torch.stack(expected))
