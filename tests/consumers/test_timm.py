"""The file for train.py -c, read as timm's train.py does, and trained beside our own loop."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest
import torch
import yaml
from torch import nn

from autotune import export, optimizers
from autotune.testing.readback import (
    STEPS,
    Probe,
    apart,
    close,
    expected,
    faults,
    followed,
    per_parameter,
    rates,
    record,
    resumed,
    same,
    walk,
    wanted,
    weights,
)

timm = pytest.importorskip("timm", reason="timm is not installed")

from timm.optim import create_optimizer_v2, optimizer_kwargs  # noqa: E402
from timm.scheduler import create_scheduler_v2, scheduler_kwargs  # noqa: E402

PER_EPOCH = 4
CLASSES = {"adan": "Adan", "adamw": "AdamW"}
# What train.py's parser has where a file says nothing; the file's values are its defaults.
DEFAULTS = {
    "opt": "sgd", "opt_eps": None, "opt_betas": None, "momentum": 0.9, "weight_decay": 2e-5,
    "opt_kwargs": {}, "lr": None, "layer_decay": None, "sched": "cosine", "sched_on_updates": False,
    "epochs": 300, "warmup_epochs": 5, "warmup_lr": 1e-5, "warmup_prefix": False, "min_lr": 0.0,
    "cooldown_epochs": 0, "clip_grad": None, "batch_size": 128,
}  # fmt: skip


def read(text):
    parser = argparse.ArgumentParser()
    for name, value in DEFAULTS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=value)
    told = yaml.safe_load(text)
    assert set(told) <= set(DEFAULTS)
    parser.set_defaults(**told)
    return parser.parse_args([])


def optimizer_of(args, model, **changes):
    return create_optimizer_v2(model, **optimizer_kwargs(args), **args.opt_kwargs, **changes)


def check(text, tuned, per_epoch=PER_EPOCH, **changes):
    args, model = read(text), Probe()
    optimizer = optimizer_of(args, model, **changes)
    right = {n: {**e, "class": CLASSES[tuned.optimizer]} for n, e in expected(tuned, model).items()}
    same(per_parameter(model, [optimizer]), right)
    schedule, epochs = create_scheduler_v2(
        optimizer, **scheduler_kwargs(args), updates_per_epoch=per_epoch
    )
    assert list(range(epochs)) == list(range(STEPS // per_epoch))
    close(rates(optimizer, schedule.step_update), wanted(tuned))
    assert (args.clip_grad or 0.0) == tuned.hyper["max_grad_norm"]


@pytest.mark.parametrize("name", ["adamw", "adan"])
def test_timm_builds_the_setting_and_follows_our_schedule(name):
    tuned = record(name, epochs_of=PER_EPOCH, max_grad_norm=0.5)
    check(export.render(tuned, "timm"), tuned)
    args = read(export.render(tuned, "timm"))
    whole, later = resumed(lambda model: optimizer_of(args, model))
    assert torch.equal(whole, later)


@pytest.mark.parametrize("decay", ["proximal", "decoupled"])
def test_timm_trains_as_our_own_optimizer_does(decay):
    tuned = record("adan", epochs_of=PER_EPOCH, decay=decay)
    theirs, ours = Probe(), Probe()
    walk(theirs, optimizer_of(read(export.render(tuned, "timm")), theirs), range(10))
    walk(ours, optimizers.build("adan", ours, tuned.hyper), range(10))
    moved = float((weights(ours) - weights(Probe())).norm())
    assert float((weights(theirs) - weights(ours)).norm()) < 1e-5 * moved


def trained(args, model, batches):
    """Train as the loop of timm's train.py: by update, and by epoch; return each step's rate."""
    optimizer = optimizer_of(args, model)
    schedule, epochs = create_scheduler_v2(
        optimizer, **scheduler_kwargs(args), updates_per_epoch=PER_EPOCH
    )
    found = []
    for epoch in range(epochs):
        for update in range(epoch * PER_EPOCH, (epoch + 1) * PER_EPOCH):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.zero_grad()
            batches[update](model).backward()
            optimizer.step()
            schedule.step_update(num_updates=update + 1, metric=None)
        schedule.step(epoch + 1, None)
    return found


@pytest.mark.parametrize("name", ["adamw", "adan"])
def test_a_training_of_timm_s_is_our_own_loop_s_step_by_step(name):
    tuned = record(name, epochs_of=PER_EPOCH)
    drawn = torch.randint(8, (STEPS, 6, 3), generator=torch.Generator().manual_seed(0))
    losses = [
        lambda model, ids=ids: nn.functional.cross_entropy(model(ids), ids.sum(1) % 2)
        for ids in drawn
    ]
    theirs, ours, decayed = Probe(), Probe(), Probe()
    rates = trained(read(export.render(tuned, "timm")), theirs, losses)
    close(rates, followed(ours, tuned, losses))
    assert apart(ours, theirs, Probe()) < 1e-5
    # A twentieth more of decay is seen in the weights; a norm's would be, too.
    more = replace(tuned, hyper={**tuned.hyper, "weight_decay": 0.042})
    followed(decayed, more, losses)
    assert apart(decayed, theirs, Probe()) > 3e-5


def test_a_warm_up_of_broken_epochs_is_followed_and_the_difference_said():
    tuned = record("adan", epochs_of=5)
    text = export.render(tuned, "timm")
    args, model = read(text), Probe()
    optimizer = optimizer_of(args, model)
    schedule, epochs = create_scheduler_v2(optimizer, **scheduler_kwargs(args), updates_per_epoch=5)
    assert list(range(epochs)) == [0, 1, 2, 3]
    traced = rates(optimizer, schedule.step_update)
    close(traced[:4], wanted(tuned)[:4])
    assert traced[4] == pytest.approx(0.905 * tuned.hyper["lr"], rel=1e-3)
    assert "so that after the warm-up lr is 0.905 of the peak, not 1" in text


@pytest.mark.parametrize("fault", range(3))
@pytest.mark.parametrize("name", ["adamw", "adan"])
def test_a_planted_fault_is_seen(fault, name):
    good = record(name, epochs_of=PER_EPOCH)
    _, wrong = list(faults(good))[fault]
    with pytest.raises(AssertionError):
        check(export.render(wrong, "timm"), good)


def test_a_decayed_norm_is_seen():
    good = record("adan", epochs_of=PER_EPOCH)
    with pytest.raises(AssertionError, match=r"norm\.weight"):
        check(export.render(good, "timm"), good, filter_bias_and_bn=False)
