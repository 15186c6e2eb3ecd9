"""EMA-Nesterov: gradients are taken ahead of the weights, along an average of their moves."""

import pytest
import torch

from autotune.optimizers import Stacked, build, create, defaults, names, space
from autotune.optimizers.registry import schedule
from autotune.testing.backends import usable
from autotune.testing.golden import differences
from autotune.testing.optimizers import advance, parameter, saved_and_loaded
from autotune.testing.recordings import trajectory
from autotune.testing.trajectories import play
from autotune.training.averages import follow

BENDS = torch.arange(1.0, 5.0, dtype=torch.float64)
RULES = [
    ("sgd", {"weight_decay": 0.1}),
    ("adamw", {"weight_decay": 0.1}),
    ("adan", {"weight_decay": 0.1}),
    ("lion", {"weight_decay": 0.1, "cautious_decay": True}),
    ("nadamw", {"cautious": True, "gradient_filter": "mars"}),
]


@pytest.mark.parametrize(("name", "hyper"), RULES)
def test_gradients_are_taken_ahead_and_weights_measured_where_the_rule_put_them(name, hyper):
    """Move the weights ahead by hand before each gradient, and step from there."""
    start = torch.ones(4, dtype=torch.float64)
    p, x = (torch.nn.Parameter(start.clone()) for _ in range(2))
    own = {"lookahead_stepsize": 0.4, "lookahead_ema": 0.8}
    ours = create(f"{name}-nema", [p], lr=0.05, backend="torch", **own, **hyper)
    plain = create(name, [x], lr=0.05, backend="torch", **hyper)
    before, moves = start, torch.zeros_like(start)
    for _ in range(12):
        p.grad = BENDS * p.detach() - 1.0
        ours.step()
        x.data += 0.4 * moves
        x.grad = BENDS * x.detach() - 1.0
        plain.step()
        moves = 0.8 * moves + 0.2 * (x.detach() - before)
        before = x.detach().clone()
    here = p.detach().clone()
    ours.eval()
    torch.testing.assert_close(p.detach(), x.detach(), rtol=1e-13, atol=1e-14)
    ours.train()
    assert torch.equal(p, here)


@pytest.mark.parametrize("backend", ["numba", "triton"])
def test_a_backend_looks_ahead_as_torch_does_in_double_precision(backend):
    ends = []
    for dtype, runs in ((torch.float64, "torch"), (torch.float32, backend)):
        p = parameter(40, dtype)
        with usable(runs):
            optimizer = create("sgd-nema", [p], lr=0.1, backend=runs)
            advance(optimizer, p, range(4))
        ends.append(p.detach().double())
    torch.testing.assert_close(*ends, rtol=2e-5, atol=2e-6)


def test_a_captured_step_looks_ahead_as_another_does():
    ends = []
    with usable("triton"):
        for on in (False, True):
            p = parameter(5)
            optimizer = create("sgd-nema", [p], lr=0.1, backend="triton", capturable=on)
            advance(optimizer, p, range(4))
            ends.append(p.detach())
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-7)


def test_replicas_look_ahead_each_its_own_way_and_are_measured_behind():
    rows = [{"lr": 0.1, "lookahead_stepsize": s} for s in (0.2, 0.9)]
    whole = torch.nn.Parameter(torch.ones(2, 3, dtype=torch.float64))
    stack = Stacked("adamw-nema", [whole], rows, "torch")
    apart = [torch.nn.Parameter(row.clone()) for row in whole.detach()]
    alone = [
        create("adamw-nema", [p], backend="torch", **row)
        for p, row in zip(apart, rows, strict=True)
    ]
    for k in range(3):
        whole.grad = torch.arange(6.0, dtype=torch.float64).reshape(2, 3) - k
        for p, g, optimizer in zip(apart, whole.grad, alone, strict=True):
            p.grad = g.clone()
            optimizer.step()
        stack.step()
    for way in ("eval", "train"):
        getattr(stack, way)()
        for optimizer in alone:
            getattr(optimizer, way)()
        assert torch.equal(whole.detach(), torch.stack([p.detach() for p in apart]))


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_checkpoint_goes_on_on_either_side_of_eval(measured, dtype):
    hyper = {"lr": 0.1, "backend": "torch", "state_dtype": torch.bfloat16}
    whole, halved = parameter(9, dtype), parameter(9, dtype)
    advance(create("adamw-nema", [whole], **hyper), whole, range(6))
    first = create("adamw-nema", [halved], **hyper)
    advance(first, halved, range(3))
    if measured:
        first.eval()
    q = parameter(9, dtype)
    q.data.copy_(halved)
    second = create("adamw-nema", [q], **hyper)
    second.load_state_dict(saved_and_loaded(first.state_dict()))
    if measured:
        with pytest.raises(RuntimeError, match=r"^a step must begin where gradients are taken"):
            second.step()
        second.train()
    assert second.state[q]["lookahead"].dtype == (
        torch.float64 if dtype.itemsize == 8 else torch.float32
    )
    advance(second, q, range(3, 6))
    assert torch.equal(q, whole)


def test_a_checkpoint_of_another_acceleration_is_refused():
    p = parameter(3)
    optimizer = create("sgd-nema", [p])
    advance(optimizer, p, range(2))
    with pytest.raises(ValueError, match=r"has acceleration 'nesterov-ema', the optimizer 'none'"):
        create("sgd", [parameter(3)]).load_state_dict(optimizer.state_dict())


def test_switched_off_and_on_again_or_anchored_anew_it_looks_nowhere_at_first():
    p = parameter(3, torch.float64)
    optimizer = create("sgd", [p], acceleration="nesterov-ema", backend="torch")
    [group] = optimizer.param_groups
    advance(optimizer, p, range(2))
    group["acceleration"] = "none"
    advance(optimizer, p, range(2, 3))
    assert "lookahead" not in optimizer.state[p]
    group["acceleration"] = "nesterov-ema"
    advance(optimizer, p, range(3, 5))
    assert optimizer.state[p]["lookahead"].abs().sum() > 0.0
    optimizer.reanchor()
    assert optimizer.state[p]["lookahead"].abs().sum() == 0.0


def test_matrices_and_vectors_of_muon_look_ahead():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    hyper = {"lr": 0.02, "aux_lr": 3e-3, "backend": "torch", "lookahead_stepsize": 0.8}
    optimizer = build("muon-nema", model, hyper)
    x = torch.randn(32, 4)
    for _ in range(5):
        optimizer.zero_grad()
        (model(x) - x[:, :1]).square().mean().backward()
        optimizer.step()
    assert all("lookahead" in optimizer.state[p] for p in model.parameters())
    assert {group["lookahead_stepsize"] for group in optimizer.param_groups} == {0.8}


def test_a_model_that_is_followed_is_measured_behind():
    model = torch.nn.Linear(2, 1)
    optimizer = create("sgd-nema", model.parameters(), lr=0.1, backend="torch")
    follow(model, optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    ahead = model.weight.detach().clone()
    model.eval()
    with torch.no_grad():
        model(torch.ones(1, 2))
    assert not torch.equal(model.weight, ahead)
    model.train()
    model(torch.ones(1, 2))
    assert torch.equal(model.weight, ahead)


def test_its_names_spaces_and_schedule():
    assert {"adamw-nema", "muon-nema", "sgd-nema"} <= set(names())
    assert schedule("adamw-nema") == "cosine"
    assert defaults("adamw-nema")["lookahead_ema"] == 0.99
    assert {"lookahead_stepsize", "one_minus_lookahead_ema"} <= set(space("adan-nema"))
    assert "lookahead_stepsize" not in space("adan")
    with pytest.raises(ValueError, match=r"^acceleration must be 'none', 'win' or 'win2', got"):
        create("lamb", [parameter(2)], acceleration="nesterov-ema")
    with pytest.raises(ValueError, match=r"^lookahead_ema must be in \[0, 1\), got 1$"):
        create("adamw-nema", [parameter(2)], lookahead_ema=1.0)


def wrapped(**hyper):
    """Return a recording as one of the authors' wrapper around SGD would be: weights, not ahead."""
    draw = torch.Generator().manual_seed(7)
    start = torch.randn(4, generator=draw, dtype=torch.float64)
    p, moves, before, steps = torch.nn.Parameter(start.clone()), torch.zeros(4).double(), start, []
    plain = torch.optim.SGD([p], lr=0.1, momentum=0.9)
    for _ in range(4):
        p.grad = torch.randn(4, generator=draw, dtype=torch.float64)
        p.data += 0.5 * moves
        plain.step()
        moves = 0.9 * moves + 0.1 * (p.detach() - before)
        before = p.detach().clone()
        steps.append({"lr": 0.1, "grads": [p.grad.tolist()], "params": [before.tolist()]})
    own = {"lr": 0.1, "momentum": 0.9, "nesterov": False, "lookahead_ema": 0.9, **hyper}
    return {
        "optimizer": "ema_nesterov_sgd",
        "hyper": own,
        "groups": [{"params": [0]}],
        "params0": [{"shape": [4], "data": start.tolist()}],
        "steps": steps,
    }


def test_a_recording_of_the_authors_wrapper_is_compared_where_weights_are_measured():
    run = trajectory(wrapped(lookahead_stepsize=0.5, use_scheduled_lookahead_stepsize=False))
    played = play(run, dtype=torch.float64, backend="torch")
    after = [[p.clone() for p in params] for _, params in played]
    assert list(differences(run, after, torch.float64)) == []
    with pytest.raises(ValueError, match=r"^acceleration 'nesterov-ema' has no warmup_step, got 3"):
        trajectory(wrapped(warmup_step=3))
