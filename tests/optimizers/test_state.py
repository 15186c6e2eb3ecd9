"""What an optimizer remembers: checkpoints, restarts, changes of mind, layouts."""

from importlib import import_module
from itertools import pairwise

import pytest
import torch

from autotune.optimizers import LAMB, SGD, Adam, AdamW, Adan
from autotune.testing.backends import BACKENDS, usable
from autotune.testing.optimizers import advance, gradient, parameter


def test_state_keys_are_the_authors():
    p = parameter(2)
    optimizer = AdamW([p], acceleration="win2", amsgrad=True)
    optimizer.step()
    words = {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "x", "y"}
    assert set(optimizer.state[p]) == words


def test_the_previous_gradient_is_kept_clipped_and_negative():
    p = parameter(2)
    p.grad = torch.tensor([3.0, 4.0])
    optimizer = Adan([p], max_grad_norm=1.0)
    optimizer.step()
    torch.testing.assert_close(optimizer.state[p]["neg_pre_grad"], -p.grad / 5)


def test_a_loaded_state_takes_the_parameters_layout():
    p = torch.nn.Parameter(torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last))
    optimizer = AdamW([p])
    p.grad = torch.randn_like(p)
    optimizer.step()
    saved = optimizer.state_dict()
    flat = {k: v.contiguous() if torch.is_tensor(v) else v for k, v in saved["state"][0].items()}
    optimizer.load_state_dict({**saved, "state": {0: flat}})
    assert optimizer.state[p]["exp_avg"].stride() == p.stride()


def test_restart_counts_from_zero_and_keeps_buffers_in_place():
    p = parameter(3)
    optimizer = Adan([p])
    advance(optimizer, p, range(3))
    average = optimizer.state[p]["exp_avg"]
    optimizer.restart_opt()
    assert optimizer.param_groups[0]["step"] == 0
    assert optimizer.state[p]["exp_avg"] is average
    assert not average.any()


def test_restart_before_the_first_step():
    optimizer = Adan([parameter(3)])
    optimizer.restart_opt()
    optimizer.step()
    assert optimizer.param_groups[0]["step"] == 1


MODES = ("none", "win", "win2", "none", "win2")


def naive_steps(cls, p, modes):
    """Return the parameter after steps in these modes, by the rule as its paper has it."""
    rule = getattr(import_module(f"autotune.kernels.naive.{cls.__name__.lower()}"), cls.__name__)
    one, values = rule(weight_decay=0.1), p.tolist()
    for k, (before, mode) in enumerate(pairwise(("none", *modes))):
        if before == "none" and one.win:
            one.win = type(one.win)(
                values, mode, one.gammas
            )  # what begins anew begins at the parameter
        elif one.win:
            one.win.mode = mode
        one.acceleration = mode
        values = one.step(values, gradient(p, k).tolist(), 0.1, k + 1)
    return values


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cls", [Adan, Adam, AdamW, SGD, LAMB])
def test_acceleration_may_change_between_steps(cls, backend):
    p = parameter(4)
    expected = naive_steps(cls, p, MODES)
    with usable(backend):
        optimizer = cls([p], lr=0.1, weight_decay=0.1, max_grad_norm=0.0, backend=backend)
        for k, acceleration in enumerate(MODES):
            optimizer.param_groups[0]["acceleration"] = acceleration
            advance(optimizer, p, range(k, k + 1))
    assert p.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("acceleration", ["win", "win2"])
def test_acceleration_that_comes_back_begins_at_the_parameter(acceleration, compact):
    p = parameter(4)
    optimizer = AdamW([p], lr=0.1, acceleration=acceleration, compact=compact)
    group = optimizer.param_groups[0]
    for k, (mode, lr) in enumerate([(acceleration, 0.1), ("none", 0.1), (acceleration, 0.0)]):
        before = p.detach().clone()
        group["acceleration"], group["lr"] = mode, lr
        advance(optimizer, p, range(k, k + 1))
    torch.testing.assert_close(p.detach(), before)


def test_a_sequence_that_win_leaves_behind_is_dropped():
    p = parameter(4)
    optimizer = AdamW([p], acceleration="win2")
    for mode, kept in (("win2", {"x", "y"}), ("win", {"x"}), ("none", set())):
        optimizer.param_groups[0]["acceleration"] = mode
        advance(optimizer, p, range(1))
        assert set(optimizer.state[p]) & {"x", "y"} == kept


def test_a_parameter_that_did_not_move_keeps_its_sequences():
    p = parameter(4)
    optimizer = AdamW([p], lr=0.1, acceleration="win")
    advance(optimizer, p, range(1))
    x, optimizer.param_groups[0]["acceleration"] = optimizer.state[p]["x"], "none"
    p.grad = None
    optimizer.step()
    assert optimizer.state[p]["x"] is x


@pytest.mark.parametrize("cls", [Adan, Adam, AdamW, SGD, LAMB])
def test_a_model_converted_to_double_goes_on(cls):
    p = parameter(4)
    optimizer = cls([p], acceleration="win")
    optimizer.step()
    p.data = p.data.double()
    p.grad = torch.ones(4, dtype=torch.float64)
    optimizer.step()
    assert p.dtype == torch.float64
    assert torch.isfinite(p).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_clipping_spans_groups_dtypes_and_layouts(backend):
    a = torch.nn.Parameter(torch.zeros(2))
    b = torch.nn.Parameter(torch.zeros(4, 4, dtype=torch.float64)[::2, ::2])
    a.grad, b.grad = torch.tensor([300.0, 0.0]), torch.zeros(2, 2, dtype=torch.float64)
    b.grad[0, 0] = 400.0
    groups = [{"params": [a]}, {"params": [b]}]
    with usable(backend):
        SGD(groups, 1.0, momentum=0.0, max_grad_norm=1.0, backend=backend).step()
    torch.testing.assert_close(a.detach(), torch.tensor([-0.6, 0.0]))
    assert float(b.detach()[0, 0]) == pytest.approx(-0.8)


def test_an_overflowing_half_gradient_is_clipped_rather_than_lost():
    p = torch.nn.Parameter(torch.zeros(4, dtype=torch.float16))
    p.grad = torch.full((4,), 3e4, dtype=torch.float16)
    SGD([p], 1.0, momentum=0.0, max_grad_norm=1.0).step()
    torch.testing.assert_close(p.detach(), torch.full((4,), -0.5, dtype=torch.float16))


def test_a_learning_rate_of_zero_still_pulls_win_towards_x():
    p = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = AdamW([p], lr=0.1, weight_decay=0.0, acceleration="win")
    p.grad = torch.ones(1)
    optimizer.step()
    x, before = float(optimizer.state[p]["x"]), p.item()
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    assert p.item() == pytest.approx((before + 2.0 * x) / 3.0)


def test_a_torch_schedule_drives_the_rate():
    p = parameter(2)
    optimizer = Adan([p])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1.0 / (1 + k))
    optimizer.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == 5e-4


def test_the_backend_is_visible():
    assert Adan([parameter(2)], backend="numba").backend_used == "numba"


def counted(optimizer, p):
    """Return where an optimizer counts the steps of a parameter."""
    return optimizer.param_groups[0] if optimizer.shared_clock else optimizer.state[p]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cls", [Adan, AdamW, LAMB])
@pytest.mark.parametrize("count", [torch.tensor(2.0), torch.tensor([2]), 2.0])
def test_a_count_that_someone_has_set_may_be_of_any_kind(cls, count, backend):
    with usable(backend):
        both = [(p := parameter(4), cls([p], lr=0.1, backend=backend)) for _ in range(2)]
        for p, optimizer in both:
            advance(optimizer, p, range(1))
        for (p, optimizer), value in zip(both, (2, count), strict=True):
            counted(optimizer, p)["step"] = value
            advance(optimizer, p, range(1, 3))
            assert type(counted(optimizer, p)["step"]) is int
    assert torch.equal(both[0][0], both[1][0])


@pytest.mark.parametrize("cls", [Adan, AdamW])
@pytest.mark.parametrize("count", [2.5, -3.0, torch.tensor([1.0, 2.0])])
def test_a_count_that_is_none_is_refused_and_nothing_changes(cls, count):
    p = parameter(4)
    optimizer = cls([p], lr=0.1, backend="torch")
    advance(optimizer, p, range(1))
    before = p.detach().clone()
    counted(optimizer, p)["step"] = count
    with pytest.raises((ValueError, TypeError), match=r"^step must be a (whole )?number"):
        advance(optimizer, p, range(1))
    assert torch.equal(p, before)
    assert counted(optimizer, p)["step"] is count
