"""The loops around a step: schedules, gradient scaling, hooks, compilation, odd gradients."""

import copy

import pytest
import torch
from torch.optim import lr_scheduler

from autotune.optimizers import LAMB, SGD, AdamW, Adan, create
from autotune.testing.optimizers import advance, parameter, under_test

SCHEDULES = {
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=8),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=3),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=8),
    "sequence": lambda o: lr_scheduler.SequentialLR(
        o,
        [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.LambdaLR(o, lambda k: 0.5**k)],
        milestones=[3],
    ),
}


def driven(optimizer, schedule, p):
    plan = schedule(optimizer)
    for k in range(7):
        advance(optimizer, p, range(k, k + 1))
        plan.step()
    return p.detach()


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("lr", [0.02, torch.tensor(0.02, dtype=torch.float64)], ids=type)
def test_a_schedule_drives_adamw_as_it_drives_torchs(schedule, lr):
    p, q = (parameter(4, torch.float64) for _ in range(2))
    expected = driven(torch.optim.AdamW([p], lr=float(lr)), schedule, p)
    actual = driven(AdamW([q], lr=copy.deepcopy(lr), backend="torch"), schedule, q)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)


def test_one_cycle_turns_the_first_of_adans_betas():
    optimizer = Adan([parameter(2)])
    plan = SCHEDULES["one cycle"](optimizer)
    optimizer.step()
    plan.step()
    first, *others = optimizer.param_groups[0]["betas"]
    assert 0.85 <= first < 0.95
    assert others == [0.92, 0.99]


def test_one_cycle_turns_the_momentum_of_sgd():
    optimizer = SGD([parameter(2)])
    SCHEDULES["one cycle"](optimizer)
    assert optimizer.param_groups[0]["momentum"] == 0.95


@pytest.mark.parametrize("name", ["adan", "adamw-win", "lamb-win2"])
def test_hyper_parameters_may_be_tensors(name):
    p, q = parameter(5), parameter(5)
    betas = (0.75, 0.875, 0.9375)[: create(name, [p]).decays]
    tensors = tuple(torch.tensor(beta) for beta in betas)
    number, tensor = {"lr": 0.25, "weight_decay": 0.5}, torch.tensor
    advance(create(name, [p], betas=betas, **number), p, range(2))
    given = {key: tensor(value) for key, value in number.items()}
    advance(create(name, [q], betas=tensors, **given), q, range(2))
    assert torch.equal(p, q)


def scaled(optimizer, scaler, p, factor):
    optimizer.zero_grad()
    scaler.scale((p * factor).sum()).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()


@pytest.mark.parametrize("name", under_test())
def test_an_overflow_step_changes_nothing(name):
    p = parameter(3)
    optimizer = create(name, [p], max_grad_norm=1.0, backend="torch")
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaled(optimizer, scaler, p, 2.0)
    before = copy.deepcopy((p.detach(), optimizer.state_dict()))
    scaled(optimizer, scaler, p, float("inf"))
    assert scaler.get_scale() == 2.0
    assert torch.equal(p, before[0])
    assert optimizer.state_dict()["param_groups"] == before[1]["param_groups"]
    for key, value in optimizer.state_dict()["state"][0].items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(before[1]["state"][0][key]))


def test_a_scaled_step_is_the_plain_one():
    p, q = parameter(3), parameter(3)
    optimizer = Adan([p])
    scaled(optimizer, torch.amp.GradScaler("cpu", init_scale=4.0), p, 2.0)
    q.grad = torch.full((3,), 2.0)
    Adan([q]).step()
    assert torch.equal(p, q)


@pytest.mark.parametrize("cls", [Adan, SGD, LAMB])
def test_zeroing_gradients_in_place_loses_nothing(cls):
    p, q = parameter(4), parameter(4)
    kept, dropped = cls([p]), cls([q])
    for _ in range(3):
        for optimizer, weight in ((kept, p), (dropped, q)):
            optimizer.zero_grad(set_to_none=optimizer is dropped)
            weight.square().sum().backward()
            optimizer.step()
    assert torch.equal(p, q)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_a_half_parameter_may_have_a_single_gradient(backend):
    p = torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    p.grad_dtype = torch.float32
    p.grad = torch.tensor([1.00390625, -2.0, 0.5])  # the first would be rounded
    optimizer = SGD([p], 1.0, backend=backend)
    optimizer.step()
    assert optimizer.state[p]["momentum"].tolist() == p.grad.tolist()


def test_a_closure_is_differentiated_where_gradients_are_off():
    p = parameter(2)
    optimizer = Adan([p])

    def closure():
        optimizer.zero_grad()
        loss = p.square().sum()
        loss.backward()
        return loss

    with torch.no_grad():
        losses = [float(optimizer.step(closure)) for _ in range(2)]
    assert losses[1] < losses[0]


def test_hooks_run_around_a_step():
    p, seen = parameter(2), []
    optimizer = Adan([p])
    optimizer.register_step_pre_hook(lambda *_: seen.append(p.detach().clone()))
    optimizer.register_step_post_hook(lambda *_: seen.append(p.detach().clone()))
    optimizer.step()
    assert not torch.equal(seen[0], seen[1])


def test_a_step_has_its_name_in_a_profile():
    optimizer = Adan([parameter(2)])
    with torch.profiler.profile() as profile:
        optimizer.step()
    assert "Optimizer.step#Adan.step" in {event.key for event in profile.key_averages()}


def test_names_of_parameters_travel_with_a_checkpoint():
    model = torch.nn.Linear(2, 1)
    saved = Adan(model.named_parameters()).state_dict()
    assert saved["param_groups"][0]["param_names"] == ["weight", "bias"]
    other = AdamW([{"params": model.named_parameters(), "foreach": True}])
    assert other.param_groups[0]["param_names"] == ["weight", "bias"]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_train_step_is_the_plain_one(backend):
    def trained(wrap):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        optimizer = AdamW(model.parameters(), lr=0.1, acceleration="win2", max_grad_norm=1.0)

        def train(x):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()

        for k in range(3):
            wrap(train)(torch.full((4, 3), 1.0 + k))
        return model.weight.detach()

    expected = trained(lambda train: train)
    torch._dynamo.reset()
    actual = trained(lambda train: torch.compile(train, backend=backend))
    torch.testing.assert_close(actual, expected)
