"""Schedule-Free: its authors' trajectories, the change of points, and what it refuses."""

import copy
import json
import pickle
from pathlib import Path

import pytest
import torch

from autotune.optimizers import Stacked, create, defaults, names, presets, space
from autotune.optimizers.registry import schedule
from autotune.testing.backends import usable
from autotune.testing.optimizers import advance, gradient, parameter, saved_and_loaded
from autotune.testing.recordings import recorded
from autotune.testing.trajectories import play

NAMES = ["adam-sf", "adamw-sf", "adan-sf", "sgd-sf"]
OTHERS = Path(__file__).parents[1] / "golden" / "others"
RECORDED = sorted(OTHERS.glob("*_schedulefree_*.json"))


def test_the_authors_trajectories_are_here():
    assert len(RECORDED) == 5


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_is_evaluated_follows_the_authors(path):
    steps = json.loads(path.read_text())["steps"]
    played = play(recorded(path), dtype=torch.float64, backend="torch")
    for (optimizer, params), step in zip(played, steps, strict=True):
        optimizer.eval()
        for p, values in zip(params, step["averages"], strict=True):
            expected = torch.tensor(values, dtype=torch.float64)
            torch.testing.assert_close(p.flatten(), expected, rtol=1e-11, atol=1e-12)
        optimizer.train()


def made(name, params, **hyper):
    """Return an optimizer that nothing is compiled for."""
    return create(name, params, backend="torch", **hyper)


def test_radam_waits_until_it_knows_the_size_of_gradients():
    p = parameter(4)
    optimizer, before = made("radam-sf", [p], betas=(0.9, 0.99)), p.detach().clone()
    advance(optimizer, p, range(4))
    assert torch.equal(p, before)
    assert optimizer.param_groups[0]["weight_sum"] == 0.0
    advance(optimizer, p, range(4, 6))
    assert not torch.equal(p, before)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_average_leaves_no_trace_and_asking_twice_is_asking_once(name, dtype):
    p, q = parameter(9, dtype), parameter(9, dtype)
    measured, straight = made(name, [p], lr=0.1), made(name, [q], lr=0.1)
    for k in range(5):
        for each, own in ((measured, p), (straight, q)):
            advance(each, own, range(k, k + 1))
        measured.eval()
        average = p.detach().clone()
        measured.eval()
        assert torch.equal(p, average)
        assert k == 0 or dtype is torch.bfloat16 or not torch.equal(p, q)
        measured.train()
        measured.train()
        assert torch.equal(p, q)


def test_the_average_is_the_mean_of_the_base_points():
    p = parameter(5, torch.float64)
    optimizer, points = made("sgd-sf", [p], lr=0.1, momentum=0.7), []
    for k in range(4):
        advance(optimizer, p, range(k, k + 1))
        points.append(optimizer.state[p]["z"].clone())
    optimizer.eval()
    torch.testing.assert_close(p.detach(), torch.stack(points).mean(dim=0))


def test_a_parameter_without_state_stays_where_it_is(name):
    p, q = parameter(4), parameter(3)
    q.grad = None
    optimizer = made(name, [p, q])
    before = q.detach().clone()
    optimizer.eval()
    optimizer.train()
    advance(optimizer, p, range(2))
    optimizer.eval()
    assert torch.equal(q, before)
    assert q not in optimizer.state


def test_other_optimizers_have_one_point_only():
    for name in ("adamw", "adan-win2", "sgd"):
        p = parameter(4)
        optimizer = made(name, [p])
        advance(optimizer, p, range(2))
        before, groups = p.detach().clone(), copy.deepcopy(optimizer.state_dict()["param_groups"])
        optimizer.eval()
        advance(optimizer, before.requires_grad_(), range(0))
        optimizer.train()
        assert torch.equal(p, before)
        assert optimizer.state_dict()["param_groups"] == groups


def test_a_step_from_the_average_is_refused(name):
    p = parameter(4)
    optimizer = made(name, [p])
    advance(optimizer, p, range(2))
    optimizer.eval()
    before, saved = p.detach().clone(), copy.deepcopy(optimizer.state_dict())
    sentence = (
        r"^a step must begin where gradients are taken, got one after eval\(\), which put the "
        r"average into the parameters; call train\(\) of the optimizer before training goes on$"
    )
    with pytest.raises(RuntimeError, match=sentence):
        optimizer.step()
    assert torch.equal(p, before)
    assert str(optimizer.state_dict()) == str(saved)
    optimizer.train()
    optimizer.step()


def test_a_learning_rate_that_falls_is_refused_and_changes_nothing(name):
    p, q = parameter(4), parameter(3)
    optimizer = made(name, [{"params": [p]}, {"params": [q]}], lr=0.1)
    optimizer.step()
    saved, before = str(optimizer.state_dict()), p.detach().clone()
    optimizer.param_groups[1]["lr"] = 0.05
    sentence = (
        r"^lr must not fall under acceleration 'schedule-free', which averages instead, got 0.05 "
        r"after 0.1; leave the schedule out but for its warm-up, or call reanchor\(\) where "
        r"another run begins$"
    )
    with pytest.raises(ValueError, match=sentence):
        optimizer.step()
    optimizer.param_groups[1]["lr"] = 0.1
    assert str(optimizer.state_dict()) == saved
    assert torch.equal(p, before)


def test_a_warm_up_by_torchs_scheduler_is_no_fall():
    p = parameter(4)
    optimizer = made("adamw-sf", [p], lr=0.1)
    rising = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.3, total_iters=7)
    for k in range(12):
        advance(optimizer, p, range(k, k + 1))
        rising.step()


@pytest.mark.parametrize("saved_in_evaluation", [False, True])
@pytest.mark.parametrize("kept", [None, torch.bfloat16])
def test_a_checkpoint_of_either_point_goes_on_bit_for_bit(name, saved_in_evaluation, kept):
    for dtype in (torch.float32, torch.bfloat16):
        straight, halved = parameter(9, dtype), parameter(9, dtype)
        hyper = {"lr": 0.1, "weight_decay": 0.2, "r": 1.0, "state_dtype": kept}
        whole, first = made(name, [straight], **hyper), made(name, [halved], **hyper)
        advance(whole, straight, range(6))
        advance(first, halved, range(3))
        if saved_in_evaluation:
            first.eval()
        second = made(name, [halved], state_dtype=kept)
        second.load_state_dict(saved_and_loaded(first.state_dict()))
        assert second._evaluating is saved_in_evaluation
        second.train()
        advance(second, halved, range(3, 6))
        assert torch.equal(straight, halved)


def test_copies_and_pickles_know_the_point_they_are_at(name):
    p = parameter(5)
    optimizer = made(name, [p])
    advance(optimizer, p, range(2))
    expected = p.detach().clone()
    optimizer.eval()
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        [q] = twin.param_groups[0]["params"]
        assert not torch.equal(q, expected)
        twin.train()
        assert torch.equal(q, expected)


def test_weights_replaced_in_evaluation_are_taken_for_the_average(name):
    p = parameter(5, torch.float64)
    optimizer = made(name, [p], lr=0.1)
    advance(optimizer, p, range(3))
    optimizer.eval()
    with torch.no_grad():
        p.copy_(torch.linspace(0.0, 1.0, 5))
    optimizer.train()
    optimizer.eval()
    torch.testing.assert_close(p.detach(), torch.linspace(0.0, 1.0, 5, dtype=torch.float64))


@pytest.mark.parametrize("in_evaluation", [False, True])
def test_a_run_begins_again_where_weights_were_put(name, in_evaluation):
    p = parameter(5)
    optimizer = made(name, [p], lr=0.1)
    advance(optimizer, p, range(3))
    if in_evaluation:
        optimizer.eval()
    with torch.no_grad():
        p.fill_(0.5)
    optimizer.reanchor()
    optimizer.param_groups[0]["lr"] = 0.01  # lower than before
    optimizer.train()
    assert torch.equal(p, torch.full((5,), 0.5))
    advance(optimizer, p, range(1))
    assert torch.allclose(optimizer.state[p]["z"], torch.full((5,), 0.5), atol=0.1)
    assert optimizer.param_groups[0]["averaged"] == 1


def test_acceleration_can_be_switched_off_and_on(name):
    p = parameter(5)
    optimizer = made(name.removesuffix("-sf"), [p])
    for mode in ("none", "schedule-free", "win", "schedule-free", "none"):
        optimizer.param_groups[0]["acceleration"] = mode
        advance(optimizer, p, range(1))
        assert ("z" in optimizer.state[p]) is (mode == "schedule-free")
        optimizer.eval()
        optimizer.train()


def test_replicas_change_points_as_their_own_optimizers_do(name):
    rows = [{"lr": 0.1 * (k + 1), "weight_decay": 0.1 * k} for k in range(5)]
    whole = torch.nn.Parameter(torch.stack([parameter(6).detach() for _ in rows]))
    singles = [parameter(6) for _ in rows]
    stack = Stacked(name, [whole], rows, "torch")
    optimizers = [made(name, [p], **row) for p, row in zip(singles, rows, strict=True)]
    for k in range(4):
        whole.grad = torch.stack([gradient(p, k) for p in singles])
        stack.step()
        for optimizer, p in zip(optimizers, singles, strict=True):
            advance(optimizer, p, range(k, k + 1))
    for way in ("eval", "train"):
        for each in (stack, *optimizers):
            getattr(each, way)()
        assert torch.equal(whole, torch.stack([p.detach() for p in singles]))
    stack.eval()
    with pytest.raises(RuntimeError, match=r"^a step must begin where gradients are taken"):
        stack.step()


def test_a_captured_step_counts_averages_on_the_device():
    ended = []
    with usable("triton"):
        for capturable in (False, True):
            p = parameter(7)
            optimizer = create("adamw-sf", [p], backend="triton", capturable=capturable, r=1.0)
            for k in range(4):
                rate = torch.tensor(1e-3 * (k + 1) / 4, dtype=torch.float64)
                if isinstance(optimizer.param_groups[0]["lr"], torch.Tensor):
                    optimizer.param_groups[0]["lr"].copy_(rate)
                else:
                    optimizer.param_groups[0]["lr"] = float(rate)
                advance(optimizer, p, range(k, k + 1))
            saved = optimizer.state_dict()["param_groups"][0]
            ended.append((p, [saved[key] for key in ("lr_max", "weight_sum", "averaged")]))
    assert torch.equal(ended[0][0], ended[1][0])
    assert ended[0][1] == ended[1][1]


@pytest.mark.parametrize("capturable", [False, True])
def test_a_step_skipped_by_overflow_is_not_counted(capturable):
    with usable("triton"):
        p = parameter(7)
        optimizer = create("sgd-sf", [p], backend="triton", lr=0.1, capturable=capturable)
        advance(optimizer, p, range(2))
        before = optimizer.state_dict()["param_groups"][0]
        optimizer.found_inf = torch.ones(1)
        optimizer.step()
        after = optimizer.state_dict()["param_groups"][0]
    assert {k: before[k] for k in ("lr_max", "weight_sum", "averaged")} == {
        k: after[k] for k in ("lr_max", "weight_sum", "averaged")
    }
    assert after["averaged"] == 2


def test_forms_say_what_they_are_trained_and_searched_with(name):
    assert name in names()
    assert schedule(name) == "constant"
    assert schedule(name.removesuffix("-sf")) == schedule(name.replace("-sf", "-win")) == "cosine"
    assert {"r", "weight_lr_power"} <= set(defaults(name))
    assert "reckless_steps" not in defaults(name)
    assert not {"r", "weight_lr_power"} & set(defaults(name.replace("-sf", "-win")))
    assert space(name)["warmup"] == ("linear", 0.0, 0.2)
    assert "gamma1" not in space(name)
    assert all(0.02 <= preset["warmup"] <= 0.05 for preset in presets(name))


@pytest.mark.parametrize(
    ("name", "hyper", "sentence"),
    [
        (
            "adamw-sf",
            {"betas": (0.0, 0.99)},
            r"^betas\[0\] must be above 0 when acceleration is 'schedule-free', got 0; without it "
            r"the average is lost$",
        ),
        (
            "sgd-sf",
            {"momentum": 0.0},
            r"^momentum must be above 0 when acceleration is 'schedule-free', got 0; without it "
            r"the average is lost$",
        ),
        (
            "sgd-sf",
            {"nesterov": False},
            r"^nesterov must be True when acceleration is 'schedule-free', got False$",
        ),
        (
            "adam-sf",
            {"amsgrad": True},
            r"^amsgrad must be False when acceleration is 'schedule-free', got True$",
        ),
        (
            "adan-sf",
            {"cautious": True},
            r"^cautious must be False when acceleration is 'schedule-free', got True$",
        ),
        (
            "adan-sf",
            {"decay": "decoupled"},
            r"^decay must be 'proximal' when acceleration is 'schedule-free', got 'decoupled'$",
        ),
        ("adan-sf", {"r": -1.0}, r"^r must be at least 0 and finite, got -1$"),
        (
            "lamb",
            {"acceleration": "schedule-free"},
            r"^acceleration must be 'none', 'win' or 'win2', got 'schedule-free'$",
        ),
        (
            "adamw-sf",
            {"acceleration": "win"},
            r"^acceleration must be 'schedule-free' for adamw-sf, got 'win'; use 'adamw' to choose "
            r"it freely$",
        ),
        ("sf-adamw", {}, r"^unknown optimizer 'sf-adamw'; did you mean 'adamw-sf'\? "),
    ],
)
def test_what_does_not_go_together_is_refused(name, hyper, sentence):
    with pytest.raises(ValueError, match=sentence):
        create(name, [parameter(3)], **hyper)
