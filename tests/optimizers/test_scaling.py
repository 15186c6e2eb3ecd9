"""Steps under a GradScaler: gradients are unscaled as they are read, an overflow leaves nothing."""

import copy
import math
import sys

import pytest
import torch

from autotune.optimizers import SGD, AdamW, Adan, create
from autotune.testing.backends import BACKENDS, usable
from autotune.testing.optimizers import parameter, runs, saved_and_loaded

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


@pytest.mark.parametrize(("name", "backend"), runs())
def test_nothing_is_known_after_a_first_step_that_overflowed(name, backend):
    with usable(backend):
        p, optimizer = run(name, [math.inf], backend)
    assert optimizer.state_dict()["state"] == {}
    assert "step" not in optimizer.state_dict()["param_groups"][0]
    assert torch.equal(p, parameter(5))


@pytest.mark.parametrize(("backend", "left"), [("triton", 8.0), ("numba", 2.0), ("torch", 2.0)])
def test_gradients_keep_their_bits_where_the_device_unscales(backend, left):
    with usable(backend):
        p = parameter(5)
        p.grad = None
        optimizer = Adan([p], backend=backend, max_grad_norm=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        scaler.scale((p * 2.0).sum()).backward()
        scaler.step(optimizer)
    assert p.grad.tolist() == [left] * 5


@pytest.mark.parametrize("way", [lambda o: o, copy.deepcopy])
def test_only_triton_claims_what_the_device_decides(backend, way):
    optimizer = way(AdamW([parameter(5)], backend=backend))
    assert getattr(optimizer, "_step_supports_amp_scaling", False) is (backend == "triton")


def test_parameters_on_two_backends_go_the_plain_way():
    with usable("triton"):
        homes = [parameter(2), torch.nn.Parameter(torch.zeros(2, device="meta"))]
        assert AdamW(homes)._step_supports_amp_scaling is False


def test_whether_it_claims_so_is_not_asked_of_each_parameter(backend):
    def calls(count):
        optimizer, called = AdamW([parameter(2) for _ in range(count)], backend=backend), []
        sys.setprofile(lambda frame, event, _: called.append(event) if event == "call" else None)
        try:
            _ = optimizer._step_supports_amp_scaling
        finally:
            sys.setprofile(None)
        return len(called)

    calls(1)  # imports
    assert calls(2) == calls(50)


def test_the_claim_can_be_given_up_to_clip_by_hand():
    with usable("triton"):
        optimizer = AdamW([parameter(5)], backend="triton")
        optimizer._step_supports_amp_scaling = False
        for each in (optimizer, copy.deepcopy(optimizer)):
            assert each._step_supports_amp_scaling is False


@pytest.mark.parametrize("name", SOME)
def test_gradients_may_be_unscaled_and_clipped_before_the_step(backend, name):
    p, q = parameter(5), parameter(5)
    p.grad = None
    optimizer = create(name, [p], lr=0.1, backend=backend, max_grad_norm=0.0)
    plain = create(name, [q], lr=0.1, backend=backend, max_grad_norm=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale((p * 2.0).sum()).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_([p], 0.5)
    scaler.step(optimizer)
    scaler.update()
    q.grad = torch.full((5,), 2.0)
    torch.nn.utils.clip_grad_norm_([q], 0.5)
    plain.step()
    assert torch.equal(p, q)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_a_step_that_overflowed_is_not_called_where_the_host_decides(backend):
    p = parameter(5)
    optimizer = create("adan", [p], backend=backend)
    called = []
    step = optimizer.step
    optimizer.step = lambda *a, **k: called.append(1) or step(*a, **k)  # as accelerate finds out
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for factor in (math.inf, 1.0, math.inf):
        scaled(optimizer, scaler, p, factor)
    assert called == [1]
    assert optimizer.param_groups[0]["step"] == 1


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
