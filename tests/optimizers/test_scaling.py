"""Steps under a GradScaler: gradients are unscaled as they are read, an overflow leaves nothing."""

import copy
import math

import pytest
import torch

from autotune.optimizers import SGD, Adan, create, names
from autotune.testing.backends import BACKENDS, usable
from autotune.testing.optimizers import parameter, saved_and_loaded

SOME = ["adan", "adamw-win2", "sgd", "lamb-win"]


@pytest.fixture(params=BACKENDS)
def backend(request):
    with usable(request.param):
        yield request.param


def scaled(optimizer, scaler, p, factor):
    """Take a step along a gradient of ``factor``, or overflow by an infinite one."""
    optimizer.zero_grad()
    scaler.scale((p * factor).sum()).backward()
    scaler.step(optimizer)
    scaler.update()


def run(name, factors, backend, **hyper):
    p = parameter(5)
    optimizer = create(name, [p], lr=0.1, backend=backend, **hyper)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for factor in factors:
        scaled(optimizer, scaler, p, factor)
    return p, optimizer


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("limit", [0.0, 0.5])
def test_a_scaled_step_is_the_plain_one(backend, name, limit):
    p, _ = run(name, [2.0, -1.0], backend, max_grad_norm=limit)
    q = parameter(5)
    plain = create(name, [q], lr=0.1, backend=backend, max_grad_norm=limit)
    for factor in (2.0, -1.0):
        q.grad = torch.full((5,), factor)
        plain.step()
    assert torch.equal(p, q)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("at", [0, 1, 2], ids=["first", "second", "last"])
def test_an_overflow_leaves_no_trace(backend, name, at):
    factors = [2.0, -1.0]
    expected, plain = run(name, factors, backend, max_grad_norm=1.0)
    factors.insert(at, math.inf)
    p, optimizer = run(name, factors, backend, max_grad_norm=1.0)
    assert torch.equal(p, expected)
    actual, wanted = optimizer.state_dict(), plain.state_dict()
    assert actual["param_groups"] == wanted["param_groups"]
    assert actual["state"][0].keys() == wanted["state"][0].keys()
    for key, value in actual["state"][0].items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(wanted["state"][0][key]))


@pytest.mark.parametrize("name", names())
def test_nothing_is_known_after_a_first_step_that_overflowed(backend, name):
    p, optimizer = run(name, [math.inf], backend)
    assert optimizer.state_dict()["state"] == {}
    assert "step" not in optimizer.state_dict()["param_groups"][0]
    assert torch.equal(p, parameter(5))


def test_gradients_keep_their_bits(backend):
    p = parameter(5)
    optimizer = Adan([p], backend=backend, max_grad_norm=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale((p * 2.0).sum()).backward()
    before = p.grad.clone()
    scaler.step(optimizer)
    assert torch.equal(p.grad, before)


def test_gradients_too_small_for_half_precision_are_not_lost():
    p = torch.nn.Parameter(torch.zeros(3, dtype=torch.float16))
    optimizer = SGD([p], momentum=0.0, nesterov=False)
    p.grad = torch.full((3,), 2.0**-14, dtype=torch.float16)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(2.0**16), torch.zeros(())
    optimizer.step()
    assert optimizer.state[p]["momentum"].tolist() == [2.0**-30] * 3


def reloaded(optimizer):
    optimizer.load_state_dict(saved_and_loaded(optimizer.state_dict()))
    return optimizer


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, reloaded])
def test_what_is_saved_after_an_overflow_never_took_the_step(backend, way):
    _, optimizer = run("adan", [1.0, math.inf], backend)
    assert way(optimizer).state_dict()["param_groups"][0]["step"] == 1


def test_a_restart_after_an_overflow_stays_one(backend):
    _, optimizer = run("adan", [1.0, math.inf], backend)
    optimizer.restart_opt()
    assert optimizer.state_dict()["param_groups"][0]["step"] == 0


def test_a_group_added_after_an_overflow_stays(backend):
    p, optimizer = run("adan", [math.inf], backend)
    q = parameter(3)
    optimizer.add_param_group({"params": [q]})
    p.grad = None
    optimizer.step()
    assert list(optimizer.state) == [q]
