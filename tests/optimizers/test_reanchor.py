"""Weights that something else than a step has moved stay there once Win begins again at them."""

import copy
import doctest
import math
import re
from importlib import import_module

import pytest
import torch

from autotune.optimizers import LAMB, SGD, Adam, AdamW, Adan, RuleOptimizer, Stacked, create
from autotune.testing.backends import BACKENDS, usable
from autotune.testing.graph import capture
from autotune.testing.optimizers import advance, gradient, parameter, saved_and_loaded

MODES = ["win", "win2"]
FORMS = {"plain": False, "compact": True}


@pytest.fixture(params=BACKENDS)
def backend(request):
    with usable(request.param):
        yield request.param


@pytest.fixture(params=FORMS.values(), ids=list(FORMS))
def compact(request):
    return request.param


@torch.no_grad()
def clamp(p):
    p.clamp_(-0.01, 0.01)


def clamp_data(p):
    p.data.clamp_(-0.01, 0.01)


@torch.no_grad()
def mask(p):
    p.mul_(torch.arange(p.numel()) % 2)


@torch.no_grad()
def average(p):
    p.lerp_(torch.linspace(3.0, -2.0, p.numel(), dtype=p.dtype), 0.75)


def load(p):
    holder = torch.nn.ParameterList([p])
    holder.load_state_dict({"0": torch.linspace(0.5, 4.0, p.numel())})


def initialise(p):
    torch.nn.init.constant_(p, -0.25)


def replace(p):
    p.data = torch.full_like(p, 7.0)


MOVES = [clamp, clamp_data, mask, average, load, initialise, replace]


def trained(backend, steps=3, mode="win2", dtype=torch.float32, **hyper):
    p = parameter(6, dtype)
    optimizer = AdamW([p], lr=0.1, weight_decay=0.1, acceleration=mode, backend=backend, **hyper)
    advance(optimizer, p, range(steps))
    return p, optimizer


def expected_of(cls, mode, move, steps):
    """Return a parameter by the rule as its paper has it; its points begin again when moved."""
    rule = getattr(import_module(f"autotune.kernels.naive.{cls.__name__.lower()}"), cls.__name__)
    one = rule(weight_decay=0.1, acceleration=mode)
    p = torch.nn.Parameter(parameter(4).detach().double())
    for k in range(steps):
        if k == 3:
            move(p)
            one.win = type(one.win)(p.tolist(), mode, one.gammas)
        p.data = torch.tensor(one.step(p.tolist(), gradient(p, k).tolist(), 0.1, k + 1)).double()
    return p.detach()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cls", [Adan, Adam, AdamW, SGD, LAMB])
def test_a_moved_weight_goes_on_as_if_acceleration_began_there(cls, mode, backend):
    p = parameter(4)
    optimizer = cls(
        [p], lr=0.1, weight_decay=0.1, max_grad_norm=0.0, acceleration=mode, backend=backend
    )
    advance(optimizer, p, range(3))
    average(p)
    optimizer.reanchor()
    advance(optimizer, p, range(3, 6))
    expected = expected_of(cls, mode, average, 6)
    assert p.tolist() == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("move", MOVES)
def test_no_move_is_undone_and_both_forms_step_alike(backend, move):
    ends = []
    for compact in FORMS.values():
        p, optimizer = trained(backend, steps=0, compact=compact)
        for k in range(3):  # the forms part by rounding, so both are put to one place
            advance(optimizer, p, range(k, k + 1))
        p.data = parameter(6).data
        move(p)
        optimizer.reanchor()
        before = p.detach().clone()
        optimizer.param_groups[0].update(lr=1e-4, weight_decay=0.0)
        advance(optimizer, p, range(3, 4))
        torch.testing.assert_close(p.detach(), before, rtol=0.0, atol=1e-3)
        assert not torch.equal(p, before)
        ends.append(p.detach())
    assert torch.equal(*ends)


def test_weights_clipped_after_every_step_are_the_same_in_both_forms(backend):
    ends = []
    for compact in FORMS.values():
        p, optimizer = trained(backend, steps=0, compact=compact)
        for k in range(4):
            advance(optimizer, p, range(k, k + 1))
            clamp(p)
            optimizer.reanchor()
        ends.append(p.detach())
    assert torch.equal(*ends)
    assert 0.0 < ends[0].abs().max() <= 0.01


def test_without_it_sequences_stay_where_they_are_or_go_along():
    ends = {}
    for name, compact in FORMS.items():
        p = torch.nn.Parameter(torch.full((4,), 0.5))
        optimizer = AdamW([p], lr=1e-4, weight_decay=0.0, acceleration="win2", compact=compact)
        for _ in range(2):
            p.grad = torch.full((4,), 1e-3)
            optimizer.step()
        clamp(p)
        optimizer.step()
        ends[name] = p[0].item()
    assert ends == {"plain": pytest.approx(0.462, abs=1e-3), "compact": pytest.approx(0.0099, 0.01)}


@pytest.mark.parametrize(
    ("dtype", "rounding"),
    [(torch.bfloat16, False), (torch.bfloat16, True), (torch.float64, False)],
)
def test_every_precision_begins_again(dtype, rounding, backend, compact):
    p, optimizer = trained(
        backend,
        dtype=dtype,
        compact=compact,
        state_dtype=torch.bfloat16,
        stochastic_rounding=rounding,
    )
    clamp(p)
    optimizer.reanchor()
    optimizer.param_groups[0].update(lr=0.0)
    before = p.detach().clone()
    advance(optimizer, p, range(3, 5))
    torch.testing.assert_close(p.detach(), before)


def test_only_the_parameters_named_begin_again(backend, compact):
    params = [parameter(5) for _ in range(3)]
    optimizer = create("adan-win2", params, lr=0.1, backend=backend, compact=compact)
    twins = copy.deepcopy(optimizer)
    for k in range(3):
        for one in (optimizer, twins):
            for p in one.param_groups[0]["params"]:
                p.grad = gradient(p, k)
            if k == 2 and one is optimizer:
                clamp(params[1])
                one.reanchor(iter(params[1:2]))
            one.step()
    for i, (p, q) in enumerate(zip(params, twins.param_groups[0]["params"], strict=True)):
        assert torch.equal(p, q) is (i != 1)
    assert params[1].abs().max() < 0.5


def test_one_tensor_alone_may_be_named():
    p, optimizer = trained("torch")
    average(p)
    optimizer.reanchor(p)
    assert torch.equal(optimizer.state[p]["y"], p)


def test_a_stranger_is_refused_and_nothing_begins_again():
    p, optimizer = trained("torch")
    before = optimizer.state[p]["x"].clone()
    strangers = (
        (torch.ones(2, 3), "a tensor of shape (2, 3)"),
        ("weight", "'weight'"),
        (("weight", p), "a tuple"),  # as named_parameters() gives them
        ({"params": [p]}, "a dict"),
    )
    for stranger, told in strangers:
        sentence = (
            f"reanchor takes parameters of this AdamW, got {told} that is none of them; "
            "leave params out to take all"
        )
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            optimizer.reanchor([p, stranger])
    assert torch.equal(optimizer.state[p]["x"], before)


@pytest.mark.parametrize("name", ["adan", "sgd", "adamw-win", "lamb-win2"])
def test_before_the_first_step_there_is_nothing_to_begin_again(name):
    p, q = parameter(3), parameter(3)
    optimizer, other = create(name, [p]), create(name, [q])
    optimizer.reanchor()
    assert not optimizer.state
    advance(optimizer, p, range(2))
    advance(other, q, range(2))
    assert torch.equal(p, q)


def test_averages_and_counts_stay(backend, compact):
    p, optimizer = trained(backend, compact=compact)
    before = copy.deepcopy(optimizer.state[p])
    optimizer.reanchor()
    for name in ("step", "exp_avg", "exp_avg_sq"):
        assert torch.equal(torch.as_tensor(optimizer.state[p][name]), torch.as_tensor(before[name]))
    assert not torch.equal(optimizer.state[p]["x"], before["x"])


def test_a_run_that_began_again_resumes_exactly(backend, compact):
    p, optimizer = trained(backend, compact=compact)
    average(p)
    optimizer.reanchor()
    saved, q = saved_and_loaded(optimizer.state_dict()), torch.nn.Parameter(p.detach().clone())
    other = AdamW([q], acceleration="win2", backend=backend, compact=compact)
    other.load_state_dict(saved)
    for one, own in ((optimizer, p), (other, q)):
        advance(one, own, range(3, 6))
    assert torch.equal(p, q)


@pytest.mark.parametrize("first", ["model", "optimizer"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_checkpoint_is_no_move_whatever_is_loaded_first(first, begun, backend, compact):
    p, optimizer = trained(backend, compact=compact)
    saved, weights = copy.deepcopy(optimizer.state_dict()), p.detach().clone()
    q, other = trained(backend, steps=5 if begun else 0, compact=compact)
    if first == "optimizer":
        other.load_state_dict(saved)
    with torch.no_grad():
        q.copy_(weights)
    if first == "model":
        other.load_state_dict(saved)
    for one, own in ((optimizer, p), (other, q)):
        advance(one, own, range(3, 6))
    assert torch.equal(p, q)


def test_weights_put_back_before_the_next_step_never_moved(backend, compact):
    p, optimizer = trained(backend, compact=compact)
    q, other = trained(backend, compact=compact)
    kept = p.detach().clone()
    clamp(p)
    with torch.no_grad():
        p.copy_(kept)
    advance(optimizer, p, range(3, 5))
    advance(other, q, range(3, 5))
    assert torch.equal(p, q)


def test_weights_moved_after_loading_begin_again_there(backend, compact):
    p, optimizer = trained(backend, compact=compact)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    clamp(p)
    optimizer.reanchor()
    optimizer.param_groups[0].update(lr=0.0)
    advance(optimizer, p, range(3, 4))
    assert p.abs().max() <= 0.0101


def test_replays_of_a_captured_step_go_on_from_the_moved_weights(monkeypatch, compact):
    with usable("triton"):
        p, optimizer = trained("triton", steps=2, capturable=True, compact=compact)
        with capture(monkeypatch) as graph:
            optimizer.step()
        clamp(p)
        optimizer.reanchor()
        optimizer.param_groups[0]["lr"].fill_(0.0)
        graph.replay()
    assert p.abs().max() <= 0.0101


def test_a_step_that_may_have_overflowed_is_settled_first():
    with usable("triton"):
        p = parameter(5)
        optimizer = create("adamw-win2", [p], lr=0.1, backend="triton")
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        for factor in (1.0, math.inf):
            p.grad = None
            scaler.scale((p * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        clamp(p)
        optimizer.reanchor()
        optimizer.param_groups[0]["lr"] = 0.0
        optimizer.grad_scale = optimizer.found_inf = None
        advance(optimizer, p, range(1))
    assert p.abs().max() <= 0.0101
    assert optimizer.state[p]["step"] == 2


@pytest.mark.parametrize("loaded", [False, True])
def test_replicas_begin_again_each_for_itself(loaded, backend, compact):
    start = torch.stack([parameter(4).detach(), -parameter(4).detach()])
    rows = [{"lr": 0.01, "compact": compact}, {"lr": 0.02, "compact": compact}]
    stack = Stacked("adamw-win2", [torch.nn.Parameter(start.clone())], rows, backend)
    alone = []
    for k, row in enumerate(rows):
        p = torch.nn.Parameter(start[k].clone())
        alone.append((p, create("adamw-win2", [p], backend=backend, **row)))
    for step in range(4):
        if step == 2:
            if loaded:
                stack.rows[1].load_state_dict(copy.deepcopy(stack.rows[1].state_dict()))
            clamp(stack.params[0].data[1])
            clamp(alone[1][0])
            stack.rows[1].reanchor()
            alone[1][1].reanchor()
        stack.params[0].grad = torch.stack([gradient(p, step) for p, _ in alone])
        stack.step()
        for p, optimizer in alone:
            advance(optimizer, p, range(step, step + 1))
    for k, (p, _) in enumerate(alone):
        assert torch.equal(stack.params[0][k], p)
    assert stack.params[0][1].abs().max() < 0.2


def test_its_example_runs():
    [example] = doctest.DocTestFinder(recurse=False).find(RuleOptimizer.reanchor, "reanchor")
    assert doctest.DocTestRunner().run(example).failed == 0
