"""Train steps in one graph: ``torch.compile(fullgraph=True)`` changes nothing but the speed."""

import copy
import gc

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from autotune.optimizers import Adan, compiled, create
from autotune.testing.backends import BACKENDS, usable
from autotune.testing.optimizers import parameter


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    with torch._dynamo.config.patch(trace_autograd_ops=True):
        yield
    torch._dynamo.reset()


@pytest.fixture(params=BACKENDS)
def backend(request):
    with usable(request.param):
        yield request.param


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))


def train(model, optimizer, wrap, steps=4):
    """Train by whole steps over a schedule; return the parameters after each."""
    params = list(model.parameters())

    def step(x):
        model(x).square().sum().backward()
        optimizer.step()
        for p in params:
            p.grad = None

    step, after = wrap(step), []
    for k in range(steps):
        optimizer.param_groups[0]["lr"] = 0.1 / (1 + k)
        step(torch.full((4, 3), 1.0 + k))
        after.append([p.detach().clone() for p in params])
    return after


def whole(counter):
    return lambda step: torch.compile(step, backend=counter, fullgraph=True)


def same(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        for p, q in zip(a, e, strict=True):
            torch.testing.assert_close(p, q, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("name", ["adan", "adamw-win2", "lamb-win"])
def test_a_train_step_is_one_graph_compiled_once(backend, name):
    model, plain = network(), network()
    expected = train(plain, create(name, plain.parameters(), backend=backend), lambda step: step)
    counter = CompileCounterWithBackend("aot_eager")
    optimizer = create(name, model.parameters(), backend=backend)
    same(train(model, optimizer, whole(counter)), expected)
    assert counter.frame_count == 1


def scheduled(optimizer):
    """Return two schedules of torch over an optimizer, one of them of its momentum too."""
    cyclic = torch.optim.lr_scheduler.CyclicLR(
        optimizer, 0.01, 0.1, step_size_up=2, cycle_momentum=True
    )
    return [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1.0 / (1 + k)), cyclic]


@pytest.mark.parametrize("name", ["adan", "adamw-win2", "sgd"])
def test_a_train_step_stays_one_graph_under_schedulers(name):
    ends, counter = [], CompileCounterWithBackend("aot_eager")
    for wrap in (whole(counter), lambda step: step):
        model = network()
        optimizer = create(name, model.parameters())
        schedulers = scheduled(optimizer)

        def step(x, model=model, optimizer=optimizer):
            model(x).square().sum().backward()
            optimizer.step()

        one = wrap(step)
        for k in range(4):
            for p in model.parameters():
                p.grad = None
            one(torch.full((4, 3), 1.0 + k))
            for scheduler in schedulers:
                scheduler.step()
        ends.append([p.detach() for p in model.parameters()])
    same([ends[0]], [ends[1]])
    assert counter.frame_count == 1


@pytest.mark.parametrize("way", [copy.deepcopy, lambda o: o])
def test_a_scheduler_still_tells_a_step_that_comes_too_late(way):
    optimizer = way(Adan([parameter(2)]))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()
    other = way(Adan([parameter(2)]))
    scheduler = torch.optim.lr_scheduler.StepLR(other, 1)
    other.step()
    scheduler.step()


def test_the_class_names_the_step_of_one_graph_too():
    p, q = parameter(3), parameter(3)
    optimizer, plain = Adan([p]), Adan([q])
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1.0)
    torch.compile(lambda: Adan.step(optimizer), backend="aot_eager", fullgraph=True)()
    plain.step()
    assert torch.equal(p, q)


@pytest.mark.parametrize("name", ["adan", "adamw-win2", "sgd", "lamb-win"])
def test_state_ends_as_it_does_in_eager(name):
    model, plain = network(), network()
    optimizers = [create(name, m.parameters(), max_grad_norm=0.5) for m in (model, plain)]
    train(model, optimizers[0], whole("aot_eager"))
    train(plain, optimizers[1], lambda step: step)
    saved, expected = (optimizer.state_dict() for optimizer in optimizers)
    assert saved["param_groups"] == expected["param_groups"]
    for i, kept in expected["state"].items():
        torch.testing.assert_close(saved["state"][i], kept, rtol=1e-5, atol=1e-6)


def test_two_steps_in_one_graph_follow_each_other():
    p, q = parameter(5), parameter(5)
    optimizer, plain = Adan([p], acceleration="win"), Adan([q], acceleration="win")

    def twice():
        optimizer.step()
        optimizer.step()

    torch.compile(twice, backend="aot_eager", fullgraph=True)()
    plain.step()
    plain.step()
    torch.testing.assert_close(p, q)
    torch.testing.assert_close(optimizer.state[p]["x"], plain.state[q]["x"])


def test_a_parameter_that_gets_its_first_gradient_late():
    ends = []
    for wrap in (whole("aot_eager"), lambda step: step):
        p, q = parameter(5), parameter(3)
        late, q.grad = q.grad, None
        optimizer = Adan([p, q])
        step = wrap(lambda optimizer=optimizer: optimizer.step())
        step()
        q.grad = late
        step()
        ends.append((p.detach(), q.detach()))
    for a, b in zip(*ends, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda o: o])
def test_an_optimizer_is_found_after_copying_and_loading(way):
    p = parameter(5)
    optimizer = way(Adan([p]))
    optimizer.load_state_dict(optimizer.state_dict())
    own = optimizer.param_groups[0]["params"][0]
    own.grad = torch.ones(5)
    torch.compile(optimizer.step, backend="aot_eager", fullgraph=True)()
    assert optimizer.param_groups[0]["step"] == 1
    assert not torch.equal(own, parameter(5))


def test_a_step_without_any_gradient_counts_as_in_eager():
    p = parameter(5)
    p.grad = None
    optimizer = Adan([p])
    torch.compile(optimizer.step, backend="aot_eager", fullgraph=True)()
    assert optimizer.param_groups[0]["step"] == 1


def test_parameters_that_were_replaced_are_not_stepped():
    optimizer = Adan([parameter(5)])
    optimizer.param_groups[0]["params"] = [parameter(5)]
    sentence = (
        r"^a compiled step needs the parameters its optimizer was made with, got others in "
        r"param_groups; build a new optimizer$"
    )
    with pytest.raises(RuntimeError, match=sentence):
        torch.compile(optimizer.step, backend="aot_eager", fullgraph=True)()


def test_an_optimizer_that_is_gone_is_forgotten():
    number = Adan([parameter(2)])._number
    gc.collect()
    assert number not in compiled._living


def test_the_operator_is_what_it_says():
    p, g = parameter(5).detach(), torch.ones(5)
    optimizer = Adan([torch.nn.Parameter(p.clone())])
    arguments = (optimizer._number, [0], [p], [g])
    torch.library.opcheck(torch.ops.autotune.step, arguments, test_utils="test_schema")
    torch.library.opcheck(torch.ops.autotune.step, arguments, test_utils="test_faketensor")
