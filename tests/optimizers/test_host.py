"""What a step asks of a GPU and of Python does not grow: counted by a driver that does nothing."""

import pytest
import torch

from autotune.kernels import backends
from autotune.optimizers import Stacked, clipping, create, stacked
from autotune.testing.launches import Operators, calls, pretended

WAYS = {
    "plain": {},
    "clipped": {"max_grad_norm": 1.0},
    "captured": {"capturable": True},
    "captured and clipped": {"capturable": True, "max_grad_norm": 1.0},
    "captured and scaled": {"capturable": True, "max_grad_norm": 1.0},
    "stacked": {},
    "stacked and clipped": {"max_grad_norm": 1.0},
}
# Kernels, operators that launch one too, and calls of this package's functions in Python.
PINNED = {
    "adan": {
        "plain": (1, 0, 104),
        "clipped": (2, 6, 139),
        "captured": (2, 0, 327),
        "captured and clipped": (3, 1, 362),
        "captured and scaled": (3, 2, 369),
        "stacked": (1, 0, 67),
        "stacked and clipped": (2, 10, 99),
    },
    "adamw-win2": {
        "plain": (1, 0, 98),
        "clipped": (2, 6, 133),
        "captured": (2, 0, 271),
        "captured and clipped": (3, 1, 306),
        "captured and scaled": (3, 2, 313),
        "stacked": (1, 0, 65),
        "stacked and clipped": (2, 10, 97),
    },
    "sgd": {
        "plain": (1, 0, 96),
        "clipped": (2, 6, 131),
        "captured": (2, 0, 165),
        "captured and clipped": (3, 1, 200),
        "captured and scaled": (3, 2, 207),
        "stacked": (1, 0, 61),
        "stacked and clipped": (2, 10, 93),
    },
    "lamb": {
        "plain": (4, 0, 138),
        "clipped": (6, 9, 197),
        "captured": (5, 0, 309),
        "captured and clipped": (7, 4, 374),
        "captured and scaled": (7, 5, 381),
        "stacked": (4, 0, 102),
        "stacked and clipped": (6, 14, 157),
    },
}


def built(name, way, tensors, replicas):
    """Return an optimizer over two groups of tensors that have gradients."""
    hyper = {"lr": 0.1, "weight_decay": 0.1, "max_grad_norm": 0.0, **WAYS[way]}
    lead = (replicas,) if way.startswith("stacked") else ()
    params = [torch.nn.Parameter(torch.ones(*lead, 3)) for _ in range(tensors)]
    for p in params:
        p.grad = torch.ones_like(p)
    half = tensors // 2
    groups = [{"params": params[:half]}, {"params": params[half:], "weight_decay": 0.0}]
    if lead:
        return Stacked(name, groups, [hyper] * replicas, "triton")
    optimizer = create(name, groups, backend="triton", **hyper)
    if "scaled" in way:
        optimizer.grad_scale, optimizer.found_inf = torch.tensor(4.0), torch.tensor(0.0)
    return optimizer


def asked(name, way, tensors=6, replicas=6, multiplier=None):
    """Return the launches, operators and tables of a step, and its calls of Python."""
    with pretended() as launched:
        optimizer = built(name, way, tensors, replicas)
        rows = getattr(optimizer, "rows", [optimizer])
        for group in [group for row in rows for group in row.param_groups if multiplier]:
            group["multiplier"] = multiplier
        for k in range(3):
            for group in [group for row in rows for group in row.param_groups]:
                if isinstance(group["lr"], float):
                    group["lr"] = 0.1 / (k + 1)
            if k == 2:
                launched.clear()
            with Operators() as operators:
                called = calls(optimizer.step)
    launched.pop("sent", None)
    return sum(launched.values()), sum(operators.names.values()), called


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", PINNED)
def test_a_step_asks_for_no_more_than_it_did(name, way):
    """Another number belongs above if it is smaller, or if what it buys was measured."""
    assert asked(name, way) == PINNED[name][way]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", PINNED)
def test_more_tensors_cost_no_launch_and_few_calls(name, way):
    *launches, called = asked(name, way, tensors=36)
    assert launches == [*PINNED[name][way][:2]]
    each = 0 if way.startswith("stacked") else 2
    assert called <= PINNED[name][way][2] + 30 * each


@pytest.mark.parametrize("way", ["stacked", "stacked and clipped"])
@pytest.mark.parametrize("name", PINNED)
def test_more_replicas_cost_nothing(name, way):
    assert asked(name, way, replicas=40) == PINNED[name][way]


@pytest.mark.parametrize(
    ("way", "operators", "called"), [("plain", 0, 4), ("captured", 4, 10), ("stacked", 0, 0)]
)
def test_multipliers_cost_a_check_of_each_group_and_on_a_device_two_operators(
    way, operators, called
):
    kernels, before, calls_before = PINNED["adan"][way]
    found = asked("adan", way, multiplier=0.5)
    assert found == (kernels, before + operators, calls_before + called)


def test_a_planted_operator_is_noticed(monkeypatch):
    factor = clipping.factor
    monkeypatch.setattr(clipping, "factor", lambda *given: factor(*given) * torch.ones(()))
    kernels, operators, _ = asked("adan", "clipped")
    assert kernels == PINNED["adan"]["clipped"][0]
    assert operators > PINNED["adan"]["clipped"][1]


def test_a_planted_call_for_each_replica_is_noticed(monkeypatch):
    def slow(work, count):
        each = zip(
            *(update.g.unbind() for [those] in [work.values()] for update in those), strict=True
        )
        found = [backends.load("triton").squares(grads) for grads in each]
        return torch.stack(found)

    monkeypatch.setattr(stacked, "_squares", slow)
    few, many = (asked("adan", "stacked and clipped", replicas=n) for n in (6, 40))
    assert few[0] == 7 > PINNED["adan"]["stacked and clipped"][0]
    assert many[0] == 41
    assert many[2] > few[2]
