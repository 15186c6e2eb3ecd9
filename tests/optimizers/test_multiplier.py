"""What a group's multiplier does to a step: it multiplies the learning rate, and nothing else."""

import copy
import math

import pytest
import torch

from autotune.optimizers import Stacked, create
from autotune.optimizers.registry import schedule
from autotune.testing.backends import usable
from autotune.testing.graph import capture
from autotune.testing.optimizers import of_second_order, under_test

SHAPES = [(3, 4), (5,), (2, 2)]
STEPS = 4


def drawn(seed, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=draw).to(dtype) for shape in SHAPES]


def built(name, dtype=torch.float64, backend="torch", **hyper):
    """Return parameters and their optimizer, in two groups."""
    params = [torch.nn.Parameter(p) for p in drawn(0, dtype)]
    groups = [{"params": params[:2], "weight_decay": 0.1}, {"params": params[2:]}]
    return params, create(name, groups, lr=0.05, backend=backend, **hyper)


def advance(params, optimizer, steps=range(STEPS)):
    for k in steps:
        for p, g in zip(params, drawn(k + 1, params[0].dtype), strict=True):
            p.grad = g
        optimizer.step()


def ended(name, *, rates=(1.0, 1.0), multipliers=None, steps=STEPS, **more):
    """Return where steps end whose groups have other rates, or multipliers instead."""
    params, optimizer = built(name, **more)
    for n, group in enumerate(optimizer.param_groups):
        group["lr"] *= rates[n]
        if multipliers:
            group["multiplier"] = multipliers[n]
    advance(params, optimizer, range(steps))
    return [p.detach().clone() for p in params]


# Those whose gradients have no graph.
STEPPED = sorted({*under_test()} - {*of_second_order()})


@pytest.mark.parametrize("name", STEPPED)
def test_a_multiplier_does_what_another_learning_rate_does(name):
    wanted = ended(name, rates=(0.3, 1.7))
    found = ended(name, multipliers=(0.3, 1.7))
    exact = schedule(name) != "constant"  # the weights of an average are rounded otherwise
    for a, b in zip(found, wanted, strict=True):
        assert torch.equal(a, b) if exact else torch.allclose(a, b, rtol=1e-13, atol=0.0)
    assert not torch.equal(found[0], ended(name)[0])


def test_a_multiplier_of_one_changes_no_bit():
    for a, b in zip(ended("adan"), ended("adan", multipliers=(1.0, 1.0)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_every_backend_heeds_it(backend):
    with usable(backend):
        more = {"backend": backend, "dtype": torch.float32, "steps": 2}
        wanted = ended("adamw", rates=(0.3, 1.7), **more)
        found = ended("adamw", multipliers=(0.3, 1.7), **more)
    for a, b in zip(found, wanted, strict=True):
        assert torch.equal(a, b)


def test_a_tensor_is_read_at_every_step():
    params, optimizer = built("adamw")
    other, wanted = built("adamw")
    for group in optimizer.param_groups:
        group["multiplier"] = torch.ones(())
    for k, factor in enumerate([1.0, 0.5, 0.0]):
        for group, same in zip(optimizer.param_groups, wanted.param_groups, strict=True):
            group["multiplier"].fill_(factor)
            same["lr"] = 0.05 * factor
        advance(params, optimizer, [k])
        advance(other, wanted, [k])
    for a, b in zip(params, other, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("count", [2, 6])
def test_replicas_have_multipliers_of_their_own(count):
    stacks = [torch.stack([p * (k + 1) for k in range(count)]) for p in drawn(0)]
    params = [torch.nn.Parameter(p) for p in stacks]
    together = Stacked("adamw-win", params, [{"lr": 0.05}] * count, "torch")
    apart = []
    for k, row in enumerate(together.rows):
        own = [torch.nn.Parameter(p.detach()[k].clone()) for p in params]
        apart.append((own, create("adamw-win", own, lr=0.05, backend="torch")))
        row.param_groups[0]["lr"] = 0.05
        for optimizer in (row, apart[k][1]) if k else ():  # the first has none
            optimizer.param_groups[0]["multiplier"] = 0.5 + k
    for step in range(3):
        for p, g in zip(params, drawn(step + 1), strict=True):
            p.grad = torch.stack([g] * count)
        together.step()
        for own, optimizer in apart:
            if step == 2 and optimizer is apart[-1][1]:  # changed in between
                optimizer.param_groups[0]["multiplier"] = 3.0
            advance(own, optimizer, [step])
        if step == 1:
            together.rows[-1].param_groups[0]["multiplier"] = 3.0
    for k, (own, _) in enumerate(apart):
        for p, q in zip(params, own, strict=True):
            assert torch.equal(p[k], q)


@pytest.mark.parametrize("name", ["adamw", "nadamw-torch"])
def test_a_graph_reads_it_where_it_is(name, monkeypatch):
    with usable("triton"):
        params, optimizer = built(name, torch.float32, "triton", capturable=True)
        other, wanted = built(name, torch.float32, "triton")
        for group in optimizer.param_groups[:1]:
            group["multiplier"] = 0.5
        for k, factor in enumerate([0.5, 0.5, 2.0, 0.25]):
            wanted.param_groups[0]["lr"] = 0.05 * factor
            if k < 3:
                if k:
                    optimizer.param_groups[0]["multiplier"].fill_(factor)
                give(params, k)
            if k < 2:
                optimizer.step()
            elif k == 2:
                with capture(monkeypatch) as graph:
                    optimizer.step()
            else:
                give(params, k)
                optimizer.param_groups[0]["multiplier"].fill_(factor)
                graph.replay()
            advance(other, wanted, [k])
    for a, b in zip(params, other, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-6, atol=2e-7)
    assert type(optimizer.state_dict()["param_groups"][0]["multiplier"]) is float


def give(params, k):
    """Write gradients where they are, or give new ones."""
    for p, g in zip(params, drawn(k + 1, params[0].dtype), strict=True):
        if p.grad is None:
            p.grad = g
        else:
            p.grad.copy_(g)


def test_a_checkpoint_keeps_it_beside_the_rate():
    params, optimizer = built("adan")
    optimizer.param_groups[0]["multiplier"] = 0.3
    advance(params, optimizer, range(2))
    saved = copy.deepcopy(optimizer.state_dict())
    assert (saved["param_groups"][0]["lr"], saved["param_groups"][0]["multiplier"]) == (0.05, 0.3)
    other, again = built("adan")
    for p, q in zip(other, params, strict=True):
        p.data.copy_(q.detach())
    again.load_state_dict(saved)
    advance(params, optimizer, range(2, 4))
    advance(other, again, range(2, 4))
    for p, q in zip(other, params, strict=True):
        assert torch.equal(p, q)
    assert "multiplier" not in again.param_groups[1]


@pytest.mark.parametrize("given", [-0.1, math.nan, math.inf, "fast", True])
def test_what_is_no_multiplier_is_refused_before_anything_changes(given):
    params, optimizer = built("adamw")
    advance(params, optimizer, range(1))
    before = [p.detach().clone() for p in params]
    optimizer.param_groups[1]["multiplier"] = given
    with pytest.raises((ValueError, TypeError), match=r"^multiplier must be "):
        advance(params, optimizer, range(1))
    assert all(map(torch.equal, params, before))
    assert optimizer.state[params[0]]["step"] == 1
