import math

import pytest
import torch

from autotune.optimizers import AGVM, create
from autotune.optimizers.agvm import disagreement, preconditioned, updated


def test_a_module_disagrees_by_the_angle_of_all_its_gradients_together():
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    assert disagreement([a], [3.0 * a]) == pytest.approx(0.0)
    assert disagreement([a], [b]) == 1.0
    assert disagreement([a], [-a]) == pytest.approx(2.0)
    assert disagreement([a, b], [a, -b]) == pytest.approx(1.0 - (1.0 - 4.0) / 5.0)


def test_a_module_without_gradients_counts_as_one_that_is_all_noise():
    assert disagreement([torch.zeros(3)], [torch.ones(3)]) == 1.0


def test_the_first_module_keeps_its_rate_and_noisier_ones_get_less():
    factors = [1.0, 1.0, 1.0]
    for _ in range(400):
        factors = updated(factors, [0.2, 0.4, 0.1])
    wanted = [1.0, math.sqrt(0.5), math.sqrt(2.0)]
    assert factors == pytest.approx(wanted, rel=1e-4)


def test_factors_stay_between_the_roots_of_a_half_and_of_ten():
    factors = updated([1.0] * 3, [1e-3, 2.0, 0.0], keep=0.0)
    assert factors == pytest.approx([1.0, math.sqrt(0.5), math.sqrt(10.0)])


def test_one_measurement_moves_a_factor_by_what_is_not_kept():
    assert updated([1.0, 2.0], [0.3, 0.3], keep=0.9) == pytest.approx([1.0, 1.9])


def test_adams_scale_is_that_of_its_next_step():
    g, v = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.0])
    found = preconditioned(g, v, 0.75, 0.5)
    wanted = [2.0 / (math.sqrt(0.75 + 0.25 * 4.0) + 0.5), -1.0 / (0.5 + 0.5)]
    assert found.tolist() == pytest.approx(wanted)


def two(name="sgd", **more):
    """Return a model of two modules, its optimizer in one group, and the controller."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    model.double()
    optimizer = create(name, model.parameters(), lr=0.1, backend="torch")
    return model, optimizer, AGVM(optimizer, model, **more)


def give(model, k):
    draw = torch.Generator().manual_seed(k)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=draw, dtype=p.dtype)


def changed(start, steps=12, rates=None, interval=3):
    """Return the steps at which factors change."""
    model, optimizer, controller = two(interval=interval, start=start)
    found = []
    for k in range(steps):
        before = dict(controller.multipliers)
        for group in optimizer.param_groups if rates else ():
            group["lr"] = rates[k]
        give(model, k)
        controller.step()
        optimizer.step()
        found += [k] if controller.multipliers != before else []
    return found


def test_modules_are_measured_at_intervals_once_warmed_up():
    assert changed(start=4) == [6, 9]


def test_the_warm_up_ends_where_the_rate_no_longer_rises():
    assert changed(start=None, rates=[0.01 * (k + 1) for k in range(5)] + [0.04] * 7) == [6, 9]
    assert changed(start=None, steps=5, interval=2) == [2, 4]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_halves_are_compared_as_the_formula_says(name):
    model, optimizer, controller = two(name, interval=1, keep=0.5, start=0)
    params, wanted = list(model.parameters()), [1.0, 1.0]
    for k in range(3):
        give(model, 10 * k)
        shares = [p.grad.clone() for p in params]
        controller.half()
        give(model, 10 * k + 1)
        others = [p.grad.clone() for p in params]
        for p, share in zip(params, shares, strict=True):
            p.grad += share
        halves = [[2.0 * g for g in half] for half in (shares, others)]
        if name == "adamw":
            known = [optimizer.state.get(p, {}).get("exp_avg_sq", 0.0 * p.detach()) for p in params]
            halves = [
                [preconditioned(g, v, 0.999, 1e-8) for g, v in zip(half, known, strict=True)]
                for half in halves
            ]
        apart = [disagreement(halves[0][at], halves[1][at]) for at in (slice(2), slice(2, 4))]
        wanted = updated(wanted, apart, 0.5)
        controller.step()
        optimizer.step()
        assert [*controller.multipliers.values()] == pytest.approx(wanted, rel=1e-12)
    rates = [group["multiplier"] for group in optimizer.param_groups]
    assert rates == [*controller.multipliers.values()]
    assert {group["lr"] for group in optimizer.param_groups} == {0.1}


def test_steps_in_a_row_take_the_place_of_halves():
    model, _, controller = two(interval=2, keep=0.0, start=0)
    for k in range(3):
        give(model, k)
        controller.step()
    grads = []
    for k in (1, 2):
        give(model, k)
        grads.append([p.grad for p in model.parameters()])
    apart = [disagreement(grads[0][at], grads[1][at]) for at in (slice(2), slice(2, 4))]
    assert [*controller.multipliers.values()] == pytest.approx(updated([1.0] * 2, apart, 0.0))


def test_gradients_that_overflowed_say_nothing():
    model, _, controller = two(interval=1, start=0)
    for k in range(3):
        give(model, k)
        if k == 1:
            next(model.parameters()).grad[0, 0] = math.inf
        controller.step()
    assert set(controller.multipliers.values()) == {1.0}


def test_modules_are_compared_with_the_largest_or_with_the_first_that_is_named():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 9), torch.nn.Linear(9, 1))
    for modules, anchor in ((None, "1"), (["2", "0"], "2")):
        optimizer = create("sgd", model.parameters(), lr=0.1, backend="torch")
        controller = AGVM(optimizer, model, modules=modules, keep=0.0, interval=1, start=0)
        for k in range(2):
            give(model, k)
            controller.step()
        same = [name for name, value in controller.multipliers.items() if value == 1.0]
        assert same == [anchor]
        assert len(controller.multipliers) == (3 if modules is None else 2)


@pytest.mark.parametrize(
    ("factors", "found", "keep", "sentence"),
    [
        ([1.0, 1.0], [0.1], 0.9, "disagreements must be one for each of 2 modules, got 1"),
        ([], [], 0.9, "disagreements must be one for each of 0 modules, got 0"),
        ([1.0], [0.1], 1.0, r"keep must be in \[0, 1\), got 1"),
    ],
)
def test_what_makes_no_sense_is_refused(factors, found, keep, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        updated(factors, found, keep)
