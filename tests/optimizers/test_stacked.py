"""Replicas stepped together end, bit for bit, where their own optimizers would have taken them."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.optimizers import Stacked, create, defaults
from autotune.optimizers.registry import schedule
from autotune.optimizers.stacked import alike
from autotune.testing.backends import BACKENDS, usable
from autotune.testing.optimizers import runs, under_test

SHAPES = [(5,), (3, 2), (), (0,)]


def hyper(k, **more):
    """Return the setting of replica k."""
    return {"lr": 0.05 * (k + 1), "eps": 1e-3 * (k + 1), **more}


def taken(name, **more):
    """Return what an optimizer takes of a setting: not all have an eps."""
    known = defaults(name)
    return {key: value for key, value in more.items() if key in known}


def drawn(count, shapes=SHAPES, dtype=torch.float32):
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(count, *shape, generator=draw).to(dtype) for shape in shapes]


def gradients(count, steps, shapes=SHAPES, dtype=torch.float32):
    """Draw gradients; the second step has none for the last tensor but one."""
    draw = torch.Generator().manual_seed(1)
    grads = [
        [torch.randn(count, *shape, generator=draw).to(dtype) for shape in shapes]
        for _ in range(steps)
    ]
    if steps > 1:
        grads[1][-2] = None
    return grads


def grouped(params):
    """Return the first two with what decay the replica has, the others without."""
    return [{"params": params[:2]}, {"params": params[2:], "weight_decay": 0.0}]


def rate(name, peak, step):
    """Return another learning rate for every step; under Schedule-Free it must not fall."""
    return peak * (step + 1) / 8 if schedule(name) == "constant" else peak / (step + 1)


def apart(name, rows, grads, backend, start=None):
    """Return what separate optimizers make of every replica, and the optimizers."""
    start = start or drawn(len(rows))
    ended, optimizers = [], []
    for k, row in enumerate(rows):
        params = [torch.nn.Parameter(p[k].clone()) for p in start]
        optimizer = create(name, grouped(params), **{**row, "backend": backend})
        for step, given_grads in enumerate(grads):
            for group in optimizer.param_groups:
                group["lr"] = rate(name, row["lr"], step)
            for p, g in zip(params, given_grads, strict=True):
                p.grad = None if g is None else g[k].clone()
            optimizer.step()
        ended.append([p.detach() for p in params])
        optimizers.append(optimizer)
    return ended, optimizers


def advance(stack, rows, grads, first=0):
    for step, given_grads in enumerate(grads, first):
        for optimizer, row in zip(stack.rows, rows, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate(stack.name, row["lr"], step)
        for p, g in zip(stack.params, given_grads, strict=True):
            p.grad = g
        stack.step()


def built(name, rows, backend, start=None):
    params = [torch.nn.Parameter(p.clone()) for p in start or drawn(len(rows))]
    return Stacked(name, grouped(params), rows, backend)


def same(stack, ended):
    return all(
        torch.equal(p[k], own)
        for k, replica in enumerate(ended)
        for p, own in zip(stack.params, replica, strict=True)
    )


@pytest.mark.parametrize(("name", "backend"), runs())
def test_replicas_end_where_their_own_optimizers_end(name, backend):
    rows = [taken(name, **hyper(k, weight_decay=0.1 * (k + 1))) for k in range(3)]
    grads = gradients(3, 4)
    with usable(backend):
        ended, _ = apart(name, rows, grads, backend)
        stack = built(name, rows, backend)
        advance(stack, rows, grads)
    assert same(stack, ended)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(under_test()),
    count=st.integers(1, 5),
    steps=st.integers(1, 4),
    clips=st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=5, max_size=5),
    backend=st.sampled_from(["torch", "numba"]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_any_number_of_replicas_in_any_dtype_is_clipped_each_by_its_own_norm(
    name, count, steps, clips, backend, dtype
):
    rows = [taken(name, **hyper(k, weight_decay=0.2, max_grad_norm=clips[k])) for k in range(count)]
    start, grads = drawn(count, dtype=dtype), gradients(count, steps, dtype=dtype)
    with usable(backend):
        ended, _ = apart(name, rows, grads, backend, start)
        stack = built(name, rows, backend, start)
        advance(stack, rows, grads)
    assert same(stack, ended)


def test_clipping_takes_each_replica_s_norm_in_the_triton_kernel_too():
    rows = [hyper(k, weight_decay=0.2, max_grad_norm=0.5 * k) for k in range(3)]
    grads = gradients(3, 2)
    with usable("triton"):
        ended, _ = apart("lamb-win", rows, grads, "triton")
        stack = built("lamb-win", rows, "triton")
        advance(stack, rows, grads)
    assert same(stack, ended)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("compact", [False, True])
def test_replicas_round_at_random_as_their_own_optimizers_do(backend, compact):
    rows = [
        hyper(k, state_dtype=torch.bfloat16, stochastic_rounding=True, compact=compact)
        for k in range(3)
    ]
    start, grads = drawn(3, dtype=torch.bfloat16), gradients(3, 4, dtype=torch.bfloat16)
    with usable(backend):
        ended, _ = apart("adamw-win2", rows, grads, backend, start)
        stack = built("adamw-win2", rows, backend, start)
        advance(stack, rows, grads)
    assert same(stack, ended)


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("name", ["adan-win", "adamw", "lamb-win2"])
def test_a_selection_goes_on_as_its_replicas_would_have(name, compact):
    rows = [hyper(k, weight_decay=0.1, compact=compact) for k in range(4)]
    grads, chosen = gradients(4, 5), [3, 1]
    ended, _ = apart(name, rows, grads, "numba")
    stack = built(name, rows, "numba")
    advance(stack, rows, grads[:3])
    stack = stack.select(chosen)
    later = [[None if g is None else g[chosen] for g in step] for step in grads[3:]]
    advance(stack, [rows[k] for k in chosen], later, first=3)
    assert same(stack, [ended[k] for k in chosen])


def test_a_replica_s_checkpoint_is_that_of_its_own_optimizer():
    rows = [hyper(k, weight_decay=0.1) for k in range(3)]
    grads = gradients(3, 3)
    _, optimizers = apart("adan-win2", rows, grads, "torch")
    stack = built("adan-win2", rows, "torch")
    advance(stack, rows, grads)
    taken, expected = stack.rows[1].state_dict(), optimizers[1].state_dict()
    assert taken["param_groups"] == expected["param_groups"]
    torch.testing.assert_close(taken["state"], expected["state"], rtol=0, atol=0)


def test_a_replica_goes_on_with_the_checkpoint_it_is_given():
    rows = [hyper(k, weight_decay=0.1) for k in range(3)]
    grads = gradients(3, 5)
    halfway, optimizers = apart("adan-win", rows, grads[:3], "numba")
    ended, _ = apart("adan-win", rows, grads, "numba")
    start = [torch.stack([replica[i] for replica in halfway]) for i in range(len(SHAPES))]
    stack = built("adan-win", rows, "numba", start)
    for row, optimizer in zip(stack.rows, optimizers, strict=True):
        row.load_state_dict(optimizer.state_dict())
    advance(stack, rows, grads[3:], first=3)
    assert same(stack, ended)


def test_a_replica_of_nan_leaves_the_others_as_they_are():
    rows = [hyper(k, max_grad_norm=1.0) for k in range(3)]
    grads = gradients(3, 3)
    for step in grads:
        for g in step:
            if g is not None and g.numel():
                g[1] = float("nan")
    ended, _ = apart("lamb-win", rows, grads, "numba")
    stack = built("lamb-win", rows, "numba")
    advance(stack, rows, grads)
    assert same(stack, ended[:1])
    assert ended[0][0].isfinite().all()
    assert torch.equal(stack.params[0][2], ended[2][0])


@pytest.mark.parametrize("name", under_test())
def test_rows_of_all_replicas_are_those_of_each_to_the_last_bit(name):
    betas = [(0.9, 0.99, 0.999), (0.3, 0.0, 0.5), (0.98, 0.92, 0.99)] * 2
    rows = [taken(name, **hyper(k, weight_decay=0.1 * k + 0.1)) for k in range(6)]
    stack = built(name, rows, "torch")
    for row, each in zip(stack.rows, betas, strict=True):
        for group in row.param_groups:
            if "betas" in group:
                group["betas"] = each[: row.decays]
    for formulas in stack._formulas:
        assert formulas.look()
        formulas.count()
        assert formulas._noted
        for steps in np.array([[1, 2, 3, 4, 5, 6], [7, 1, 1000, 9, 123457, 8]]):
            expected = formulas._one_by_one(steps, [False] * 6)
            assert np.array_equal(formulas.lines(steps, None), expected)


def test_replicas_may_differ_in_what_a_formula_asks():
    rows = [hyper(k, weight_decay=0.1, bias_correction=k > 2) for k in range(6)]
    grads = gradients(6, 3)
    ended, _ = apart("lamb", rows, grads, "torch")
    stack = built("lamb", rows, "torch")
    advance(stack, rows, grads)
    assert same(stack, ended)


@pytest.mark.parametrize("name", ["adan", "adamw"])
def test_what_is_edited_in_a_replica_between_two_steps_is_taken(name):
    rows, grads = [hyper(k) for k in range(6)], gradients(6, 4)
    edits = {"eps": 0.3, "weight_decay": 0.4, "max_grad_norm": 0.1}
    _, optimizers = apart(name, rows, grads[:2], "torch")
    stack = built(name, rows, "torch")
    advance(stack, rows, grads[:2])
    for group in [*optimizers[1].param_groups, *stack.rows[1].param_groups]:
        group.update(edits)
    advance(stack, rows, grads[2:])
    ended = []
    for k, optimizer in enumerate(optimizers):
        for step, given_grads in enumerate(grads[2:]):
            for group in optimizer.param_groups:
                group["lr"] = rows[k]["lr"] / (step + 1)
            params = optimizer.parameters()
            for p, g in zip(params, given_grads, strict=True):
                p.grad = g[k].clone()
            optimizer.step()
        ended.append(optimizer.parameters())
    assert same(stack, ended)


def test_a_replica_that_restarts_counts_from_zero():
    rows = [hyper(k) for k in range(2)]
    stack = built("adan", rows, "torch")
    advance(stack, rows, gradients(2, 3))
    stack.rows[1].restart_opt()
    advance(stack, rows, gradients(2, 1))
    told = [row.state_dict()["param_groups"][0]["step"] for row in stack.rows]
    assert told == [4, 1]


@pytest.mark.parametrize("name", ["adan", "adamw"])
def test_loading_one_replica_leaves_the_counts_of_others(name):
    rows = [hyper(k) for k in range(2)]
    stack = built(name, rows, "torch")
    advance(stack, rows, gradients(2, 1))
    saved = copy.deepcopy(stack.rows[0].state_dict())
    advance(stack, rows, gradients(2, 2))
    stack.rows[0].load_state_dict(saved)
    advance(stack, rows, gradients(2, 1))
    told = [row.state_dict() for row in stack.rows]
    counted = [(s["param_groups"][0] if name == "adan" else s["state"][0])["step"] for s in told]
    assert counted == [2, 4]


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_that_do_not_lie_replica_after_replica_are_clipped_too(backend):
    rows = [hyper(k, max_grad_norm=0.5) for k in range(3)]
    grads = [[g.transpose(0, -1).contiguous().transpose(0, -1) for g in gradients(3, 1)[0]]]
    with usable(backend):
        ended, _ = apart("sgd", rows, grads, backend)
        stack = built("sgd", rows, backend)
        advance(stack, rows, grads)
    assert same(stack, ended)


def test_settings_that_step_by_different_rules_are_refused():
    rows = [{"decay": "proximal"}, {"decay": "decoupled"}]
    with pytest.raises(
        ValueError,
        match=r"^replicas must share one rule, got adan with two, for \{'decay': 'proximal'\} "
        r"and for \{'decay': 'decoupled'\}; stack them separately$",
    ):
        Stacked("adan", [torch.zeros(2, 3)], rows)


def test_settings_are_sorted_by_the_rules_they_step_by():
    settings = [{"weight_decay": 0.1}, {"weight_decay": 0.0}, {"lr": 0.1, "weight_decay": 0.2}]
    assert alike("lamb", settings) == [[0, 2], [1]]
    assert alike("adan-win", settings) == [[0, 1, 2]]


def test_a_parameter_of_another_count_is_refused():
    with pytest.raises(
        ValueError,
        match=r"^a stacked parameter must be contiguous with 2 entries, one for each row, "
        r"got shape \(3, 2\); stack the replicas' tensors with torch.stack$",
    ):
        Stacked("adan", [torch.zeros(3, 2)], [{}, {}])


def test_a_parameter_with_gaps_is_refused():
    with pytest.raises(
        ValueError,
        match=r"^a stacked parameter must be contiguous with 2 entries, one for each row, "
        r"got shape \(2, 3\), not contiguous; stack the replicas' tensors with torch.stack$",
    ):
        Stacked("adan", [torch.zeros(3, 2).T], [{}, {}])


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match=r"^rows must be one for each replica, got none$"):
        Stacked("adan", [torch.zeros(3, 2)], [])


def test_a_replica_that_does_not_exist_is_not_selected():
    stack = Stacked("adan", [torch.zeros(2, 3)], [{}, {}])
    with pytest.raises(IndexError, match=r"^a replica's index must be from 0 to 1, got 2$"):
        stack.select([2])


def test_gradients_of_another_shape_are_refused():
    weights = torch.nn.Parameter(torch.zeros(2, 3))
    stack = Stacked("adan", [weights], [{}, {}])
    weights.grad = torch.zeros(2, 3)
    weights.data = torch.zeros(2, 4)
    with pytest.raises(
        ValueError,
        match=r"^a gradient must have its parameter's shape \(2, 4\), got \(2, 3\); "
        r"call zero_grad\(\) after replacing a parameter's data$",
    ):
        stack.step()
