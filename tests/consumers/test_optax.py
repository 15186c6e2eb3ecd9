"""The module for optax: its updates against ours, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from autotune import export, optimizers
from autotune.testing.readback import STEPS, Probe, close, faults, record, wanted

jax = pytest.importorskip("jax", reason="JAX is not installed")
optax = pytest.importorskip("optax", reason="optax is not installed")

from autotune.training.lr_schedule import schedule as ours  # noqa: E402

TOLERANCE = 1e-9  # of the way that the weights went in 20 steps; measured: 3e-13


def module(text):
    names = {"__name__": "exported"}
    exec(compile(text, "exported.py", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def _float64():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def gradients(step, model):
    generator = torch.Generator().manual_seed(step)
    return {
        name: torch.randn(p.shape, generator=generator, dtype=torch.float64)
        for name, p in model.named_parameters()
    }


def both(text, tuned):
    """Return the weights before, and after 20 steps of ours and of theirs."""
    names, model = module(text), Probe().double()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    theirs = {name: jax.numpy.asarray(p.numpy()) for name, p in before.items()}
    optimizer = optimizers.build(tuned.optimizer, model, {**tuned.hyper, "backend": "torch"})
    follow, built = ours(optimizer, STEPS, tuned.warmup), names["build"]()
    state = built.init(theirs)
    for step in range(STEPS):
        given = gradients(step, model)
        for name, parameter in model.named_parameters():
            parameter.grad = given[name]
        optimizer.step()
        follow.step()
        there = {name: jax.numpy.asarray(g.numpy()) for name, g in given.items()}
        updates, state = built.update(there, state, theirs)
        theirs = optax.apply_updates(theirs, updates)
    return before, {n: p.detach() for n, p in model.named_parameters()}, theirs


def check(text, tuned, tolerance=TOLERANCE):
    before, mine, theirs = both(text, tuned)
    for name, start in before.items():
        apart = float((torch.tensor(jax.device_get(theirs[name])) - mine[name]).abs().max())
        moved = float((mine[name] - start).abs().max())
        assert apart < tolerance * moved, (name, apart / moved)
    names = module(text)
    close([float(names["schedule"](step)) for step in range(STEPS)], wanted(tuned))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("adamw", {}),
        ("adan", {"decay": "proximal"}),
        ("adan", {"decay": "decoupled"}),
    ],
)
def test_optax_steps_as_we_do(name, changes):
    tuned = record(name, **changes)
    check(export.render(tuned, "optax"), tuned)


def test_optax_clips_as_we_do():
    # torch divides by the norm + 1e-6, optax by the norm.
    tuned = record("adan", max_grad_norm=0.5)
    check(export.render(tuned, "optax"), tuned, tolerance=1e-8)  # measured: 6e-10


def test_optax_s_own_adan_is_another_rule():
    tuned = record("adan", weight_decay=0.0)
    text = export.render(tuned, "optax")
    own = text.replace("adan(**HYPER)", "optax.scale_by_adan(**HYPER)")
    assert own != text
    with pytest.raises(AssertionError):
        check(own, tuned, tolerance=1e-2)


@pytest.mark.parametrize("fault", range(3))
def test_a_planted_fault_is_seen(fault):
    good = record("adan")
    _, wrong = list(faults(good))[fault]
    with pytest.raises(AssertionError):
        check(export.render(wrong, "optax"), good)


def test_a_decayed_norm_is_seen():
    good = record("adamw")
    text = export.render(good, "optax")
    with pytest.raises(AssertionError, match=r"'(ls|norm|head\.bias)"):
        check(text.replace("p.ndim > 1", "p.ndim > 0"), good)


def test_the_probe_is_in_float64():
    assert isinstance(Probe().double().head, nn.Linear)
    assert Probe().double().ls.dtype == torch.float64
