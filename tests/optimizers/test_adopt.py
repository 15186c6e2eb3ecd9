"""What ADOPT has of its own: a first step that only measures, and the bound after it."""

import math

import pytest
import torch

from autotune.optimizers import create, tape
from autotune.testing.backends import BACKENDS, usable
from autotune.testing.optimizers import parameter


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("hyper", [{}, {"decay": "coupled"}], ids=["decoupled", "coupled"])
def test_the_first_step_of_a_tensor_moves_it_nowhere(backend, hyper):
    p = parameter(6)
    before = p.detach().clone()
    with usable(backend):
        optimizer = create("adopt", [p], lr=0.1, weight_decay=0.5, backend=backend, **hyper)
        optimizer.step()
        torch.testing.assert_close(p.detach(), before, rtol=1e-6, atol=0.0)
        optimizer.step()
    assert not torch.allclose(p.detach(), before, rtol=1e-2)


@pytest.mark.parametrize("acceleration", ["win", "win2"])
def test_win_moves_nothing_on_the_first_step_either(acceleration):
    p = torch.nn.Parameter(torch.linspace(-1.0, 1.5, 6, dtype=torch.float64))
    p.grad = torch.ones_like(p)
    before = p.detach().clone()
    hyper = {"lr": 0.1, "weight_decay": 0.5, "acceleration": acceleration, "backend": "torch"}
    optimizer = create("adopt", [p], **hyper)
    optimizer.step()
    for moved in (
        p.detach(),
        *(optimizer.state[p][name] for name in ("x", "y") if name in optimizer.state[p]),
    ):
        torch.testing.assert_close(moved, before, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize(("exponent", "length"), [(0.25, 1.0), (None, 1000.0)])
def test_the_second_gradient_is_bounded_by_one(exponent, length):
    p = parameter(1)
    start = p.item()
    hyper = {"lr": 1.0, "betas": (0.0, 0.9), "clip_exponent": exponent}
    optimizer = create("adopt", [p], backend="torch", **hyper)
    for size in (1.0, 1000.0):
        p.grad = torch.full((1,), size)
        optimizer.step()
    assert math.isclose(start - p.item(), length, rel_tol=1e-5)


def test_an_exponent_below_zero_is_refused():
    with pytest.raises(ValueError, match=r"^clip_exponent must be at least 0 and finite, got -1$"):
        create("adopt", [parameter(1)], clip_exponent=-1.0)


def test_a_decay_that_it_has_not_is_refused():
    with pytest.raises(ValueError, match=r"^decay must be 'decoupled' or 'coupled', got 'fixed'$"):
        create("adopt", [parameter(1)], decay="fixed")


@pytest.mark.parametrize("exponent", [0.25, None])
def test_a_device_can_compute_its_scalars(exponent):
    optimizer = create("adopt", [parameter(2)], clip_exponent=exponent)
    [group] = optimizer.param_groups
    assert tape.noted(optimizer, group, optimizer.rule(group)) is not None
