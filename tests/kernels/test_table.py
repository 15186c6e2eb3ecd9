"""The pointer table: layouts, dtypes, rows and gaps give what torch gives."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.kernels import eager
from autotune.kernels.adam import ADAM
from autotune.kernels.adan import ADAN
from autotune.kernels.decay import DECOUPLED, PROXIMAL
from autotune.kernels.lamb import LAMB
from autotune.kernels.rule import Rule, Update
from autotune.kernels.win import WIN2

table = pytest.importorskip("autotune.kernels.table")

ADAMW = Rule(direction=ADAM, application=DECOUPLED)
ROW = (0.0, 0.9, 0.1, 0.999, 0.001, 0.1, 0.03, 1e-8, 0.1, 0.2)


def update(p, g=None, rule=ADAMW, row=ROW):
    """Return an update of ``p`` with buffers that differ from element to element."""
    g = torch.randn_like(p) if g is None else g
    state = tuple(torch.rand_like(p) for _ in rule.buffers)
    return Update(p, g, state, row)


def agree(updates, rule=ADAMW, clip=None, rtol=1e-5):
    """Step the same updates both ways and compare everything they may write."""
    others = copy.deepcopy(updates)
    table.step(rule, updates, clip)
    eager.step(rule, others, clip)
    for one, other in zip(updates, others, strict=True):
        for a, b in zip((one.p, one.g, *one.state), (other.p, other.g, *other.state), strict=True):
            torch.testing.assert_close(a, b, rtol=rtol, atol=1e-6, equal_nan=False)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (127,), (1024,), (1025,), (3, 1, 5)], ids=str)
def test_shapes(shape):
    agree([update(torch.randn(shape))])


def test_channels_last_lies_as_it_is():
    p = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    one = update(p)
    address = one.p.data_ptr()
    agree([one])
    assert one.p.data_ptr() == address
    assert one.p.is_contiguous(memory_format=torch.channels_last)


def test_a_gradient_of_another_layout():
    p = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    agree([update(p, torch.randn(4, 3, 5, 5))])


def test_strides_of_dimensions_of_size_one_say_nothing():
    p = torch.randn(8, 4, 1, 1)
    agree([update(p, torch.randn(8, 4, 1, 1).to(memory_format=torch.channels_last))])


def test_a_gradient_of_another_dtype():
    p = torch.randn(9)
    agree([update(p, torch.randn(9, dtype=torch.float64))])


def test_a_parameter_with_gaps():
    agree([update(torch.randn(10, 6)[::2, 1::2])])


def test_a_transposed_parameter():
    agree([update(torch.randn(5, 7).t(), torch.randn(7, 5))])


def test_state_of_another_layout_and_dtype():
    one = update(torch.randn(5, 7))
    crossed = one.state[0].t().contiguous().t(), one.state[1].double()
    agree([one._replace(state=crossed)])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_computed_in_single(dtype):
    p = torch.randn(33).to(dtype)
    state = tuple(torch.rand(33) for _ in ADAMW.buffers)
    agree([Update(p, torch.randn(33).to(dtype), state, ROW)])


def test_an_unaligned_parameter():
    agree([update(torch.randn(100)[3:99])])


def test_each_tensor_reads_its_own_row():
    rows = [(*ROW[:8], lr, 0.2) for lr in (0.1, 0.5)]
    agree([update(torch.randn(5), row=rows[k % 2]) for k in range(4)])


def test_single_and_double_precision_side_by_side():
    agree([update(torch.randn(5)), update(torch.randn(5, dtype=torch.float64))])


def test_gradients_count_as_clipped():
    agree([update(torch.randn(50))], clip=torch.tensor(0.25, dtype=torch.float64))


def test_the_trust_ratio_is_each_tensors_own():
    rule = Rule(direction=LAMB, application=DECOUPLED, trust=True)
    row = (0.1, *ROW, 2.0)
    agree([update(torch.randn(50) * size, rule=rule, row=row) for size in (0.01, 1.0, 100.0)], rule)


def test_many_buffers_at_once():
    rule = Rule(direction=ADAN, application=WIN2)
    row = (1.0, 0.98, 0.02, 0.92, 0.08, 0.99, 0.01, 0.02, 0.08, 0.1, 1e-8, 0.1, 0.2, 2.0, 8.0)
    agree([update(torch.randn(300), rule=rule, row=row)], rule)


def test_infinities_and_nans_pass_through():
    p = torch.tensor([1.0, 2.0, 3.0])
    one = update(p, torch.tensor([float("nan"), float("inf"), 1.0]))
    table.step(ADAMW, [one], None)
    assert torch.isfinite(one.p).tolist() == [False, False, True]


def test_squares_are_summed_in_double_precision():
    grads = [torch.full((1000,), 3e4, dtype=torch.float16), torch.full((3,), 1e-9)]
    expected = sum(float(g.double().square().sum()) for g in grads)
    assert float(table.squares(grads)) == pytest.approx(expected, rel=1e-14)
    assert float(eager.squares(grads)) == pytest.approx(expected, rel=1e-12)


def test_squares_of_gradients_with_gaps():
    grads = [torch.randn(6, 6)[::2, ::3]]
    expected = float(grads[0].double().square().sum())
    assert float(table.squares(grads)) == pytest.approx(expected, rel=1e-14)


def test_a_schedule_compiles_nothing_new():
    before = table._compiled.cache_info().currsize
    for lr in (0.1, 0.01, 0.0, 1.0):
        table.step(ADAMW, [update(torch.randn(5), row=(*ROW[:8], lr, 0.0))], None)
    assert table._compiled.cache_info().currsize - before <= 1
    compiled = table._compiled(ADAMW, torch.float32)
    assert len(compiled.signatures) == 1


@st.composite
def laid_out(draw):
    """Return a shape and an order of its dimensions, with or without gaps."""
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    order = draw(st.permutations(range(len(shape))))
    return shape, order, draw(st.booleans())


def lying(layout, seed):
    shape, order, gaps = layout
    stored = [shape[i] * (2 if gaps else 1) for i in order]
    whole = torch.randn(stored, generator=torch.Generator().manual_seed(seed))
    if gaps:
        whole = whole[tuple(slice(None, None, 2) for _ in stored)]
    back = sorted(range(len(order)), key=lambda i: order[i])
    return whole.permute(back)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(laid_out(), st.randoms()), min_size=1, max_size=4))
def test_any_layout(cases):
    updates = []
    for seed, (layout, chance) in enumerate(cases):
        p = lying(layout, seed)
        order = list(layout[1])
        chance.shuffle(order)
        g = lying((layout[0], order, chance.random() < 0.5), seed + 100)
        updates.append(update(p, g))
    agree(updates)


def test_a_rule_is_known_by_its_parts():
    assert replace(ADAMW) == ADAMW
    assert Rule(direction=ADAM, application=PROXIMAL) != ADAMW
