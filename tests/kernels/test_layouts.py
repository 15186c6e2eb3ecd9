"""Backends that walk memory give what torch gives, however tensors lie and whatever they hold."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.kernels import backends, torch_step
from autotune.kernels.rule import Rule, Update
from autotune.kernels.rules.adam import ADAM
from autotune.kernels.rules.adan import ADAN
from autotune.kernels.rules.decay import DECOUPLED
from autotune.kernels.rules.lamb import LAMB
from autotune.kernels.rules.norms import TRUST
from autotune.kernels.rules.win import WIN2
from autotune.testing.backends import usable

ADAMW = Rule(direction=ADAM, application=DECOUPLED)
ROW = (0.0, 0.9, 0.1, 0.999, 0.001, 0.1, 0.03, 1e-8, 0.1, 0.2)
HALVES = [torch.bfloat16, torch.float16]


@pytest.fixture(params=["numba", "triton"])
def backend(request):
    with usable(request.param):
        yield backends.load(request.param)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def update(p, g=None, rule=ADAMW, row=ROW):
    """Return an update of ``p`` with buffers that differ from element to element."""
    g = torch.randn_like(p) if g is None else g
    state = tuple(torch.rand_like(p) for _ in rule.buffers)
    return Update(p, g, state, row)


def agree(backend, updates, rule=ADAMW, clip=None, rtol=1e-5):
    """Step the same updates both ways and compare everything; gradients keep their bits."""
    others = copy.deepcopy(updates)
    backend.step(rule, updates, clip)
    torch_step.step(rule, others, clip)
    for one, other in zip(updates, others, strict=True):
        assert torch.equal(one.g, other.g)
        for a, b in zip((one.p, *one.state), (other.p, *other.state), strict=True):
            torch.testing.assert_close(a, b, rtol=rtol, atol=1e-6, equal_nan=False)


@pytest.mark.parametrize(
    "shape",
    [(), (0,), (1,), (15,), (31,), (32,), (33,), (127,), (1024,), (1025,), (3, 1, 5)],
    ids=str,
)
def test_shapes(backend, shape):
    agree(backend, [update(torch.randn(shape))])


def test_channels_last_lies_as_it_is(backend):
    p = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    one = update(p)
    address = one.p.data_ptr()
    agree(backend, [one])
    assert one.p.data_ptr() == address
    assert one.p.is_contiguous(memory_format=torch.channels_last)


def test_a_gradient_of_another_layout(backend):
    p = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last)
    agree(backend, [update(p, torch.randn(4, 3, 5, 5))])


def test_strides_of_dimensions_of_size_one_say_nothing(backend):
    p = torch.randn(8, 4, 1, 1)
    agree(backend, [update(p, torch.randn(8, 4, 1, 1).to(memory_format=torch.channels_last))])


def test_a_gradient_of_another_dtype(backend):
    agree(backend, [update(torch.randn(9), torch.randn(9, dtype=torch.float64))])


def test_a_parameter_with_gaps(backend):
    agree(backend, [update(torch.randn(10, 6)[::2, 1::2])])


def test_a_transposed_parameter(backend):
    agree(backend, [update(torch.randn(5, 7).t(), torch.randn(7, 5))])


def test_state_of_another_layout_and_dtype(backend):
    one = update(torch.randn(5, 7))
    crossed = one.state[0].t().contiguous().t(), one.state[1].double()
    agree(backend, [one._replace(state=crossed)])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_precision_is_computed_in_single(backend, dtype):
    p = torch.randn(33).to(dtype)
    state = tuple(torch.rand(33) for _ in ADAMW.buffers)
    agree(backend, [Update(p, torch.randn(33).to(dtype), state, ROW)])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_state_in_half_precision_is_rounded_as_torch_rounds(backend, dtype):
    state = tuple(torch.rand(70).to(dtype) for _ in ADAMW.buffers)
    agree(backend, [Update(torch.randn(70), torch.randn(70), state, ROW)], rtol=1e-2)


@pytest.mark.parametrize("first", [0, 3, 4])
@pytest.mark.parametrize("size", [1, 31, 32, 97])
def test_a_view_and_nothing_around_it(backend, first, size):
    def view(values):
        whole = torch.full((size + 40,), float("nan"))
        whole[first : first + size] = values
        return whole[first : first + size]

    p, g, m = view(torch.randn(size)), view(torch.randn(size)), view(torch.rand(size))
    agree(backend, [Update(p, g, (m, view(torch.rand(size))), ROW)])
    for tensor in (p, m):
        whole = tensor._base
        assert whole.isnan().sum() == 40
        assert torch.isfinite(whole[first : first + size]).all()


def test_each_tensor_reads_its_own_row(backend):
    rows = [(*ROW[:8], lr, 0.2) for lr in (0.1, 0.5)]
    agree(backend, [update(torch.randn(5), row=rows[k % 2]) for k in range(4)])


def test_an_empty_tensor_hides_no_other(backend):
    agree(backend, [update(torch.randn(n)) for n in (5, 0, 40, 0)])


def test_single_and_double_precision_side_by_side(backend):
    agree(backend, [update(torch.randn(5)), update(torch.randn(5, dtype=torch.float64))])


def test_gradients_count_as_clipped(backend):
    agree(backend, [update(torch.randn(50))], clip=torch.tensor(0.25, dtype=torch.float64))


def test_the_trust_ratio_is_each_tensors_own(backend):
    rule = Rule(direction=LAMB, application=DECOUPLED, shaping=TRUST)
    row = (0.1, *ROW, 2.0)
    sizes = [(0, 1.0), (50, 0.01), (600, 1.0), (1, 100.0)]
    updates = [update(torch.randn(n) * size, rule=rule, row=row) for n, size in sizes]
    agree(backend, updates, rule, clip=torch.tensor(0.25, dtype=torch.float64))


def test_many_buffers_at_once(backend):
    rule = Rule(direction=ADAN, application=WIN2)
    row = (1.0, 0.98, 0.02, 0.92, 0.08, 0.99, 0.01, 0.02, 0.08, 0.1, 1e-8, 0.1, 0.2, 2.0, 8.0)
    agree(backend, [update(torch.randn(300), rule=rule, row=row)], rule)


def test_infinities_and_nans_pass_through(backend):
    one = update(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([float("nan"), float("inf"), 1.0]))
    backend.step(ADAMW, [one], None)
    assert torch.isfinite(one.p).tolist() == [False, False, True]


def test_autograd_sees_the_step(backend):
    one = update(torch.randn(5))
    before = one.p._version
    backend.step(ADAMW, [one], None)
    assert one.p._version > before


def test_squares_are_summed_in_double_precision(backend):
    grads = [torch.full((1000,), 3e4, dtype=torch.float16), torch.full((3,), 1e-9), torch.ones(0)]
    expected = sum(float(g.double().square().sum()) for g in grads)
    assert float(backend.squares(grads)) == pytest.approx(expected, rel=1e-14)
    assert float(torch_step.squares(grads)) == pytest.approx(expected, rel=1e-12)


def test_squares_of_nothing_are_zero(backend):
    assert float(backend.squares([torch.ones(0)])) == 0.0


@pytest.mark.parametrize("first", [0, 1])
def test_squares_of_gradients_with_gaps_and_of_views(backend, first):
    grads = [torch.randn(6, 6)[::2, ::3], torch.randn(100)[first:98]]
    expected = sum(float(g.double().square().sum()) for g in grads)
    assert float(backend.squares(grads)) == pytest.approx(expected, rel=1e-14)


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


CASES = st.lists(st.tuples(laid_out(), st.randoms()), min_size=1, max_size=4)
DTYPES = st.sampled_from([torch.float32, torch.float64, *HALVES])


def any_layout(name, cases, dtypes):
    updates = []
    for seed, (layout, chance) in enumerate(cases):
        p = lying(layout, seed).to(dtypes[0])
        order = list(layout[1])
        chance.shuffle(order)
        g = lying((layout[0], order, chance.random() < 0.5), seed + 100).to(dtypes[1])
        updates.append(Update(p, g, tuple(lying(layout, k).abs() for k in (7, 8)), ROW))
    with usable(name):
        agree(backends.load(name), updates, rtol=1e-2 if dtypes[0] in HALVES else 1e-5)


@settings(max_examples=60, deadline=None)
@given(CASES, st.tuples(DTYPES, DTYPES))
def test_any_layout_over_a_table_of_numba(cases, dtypes):
    any_layout("numba", cases, dtypes)


@settings(max_examples=30, deadline=None)
@given(CASES, st.tuples(DTYPES, DTYPES))
def test_any_layout_over_chunks_of_triton(cases, dtypes):
    any_layout("triton", cases, dtypes)


def test_a_tensor_turned_where_it_lies_is_noticed(backend):
    one = update(torch.randn(4, 4))
    agree(backend, [one])
    one.p.data = one.p.data.t()
    agree(backend, [one])


def test_a_parameter_reshaped_where_it_lies_keeps_its_elements(backend):
    one = update(torch.randn(6, 4))
    flat = copy.deepcopy(one)
    for shape in [(6, 4), (4, 6)]:
        one.p.data, one.g.data = one.p.data.view(shape), one.g.data.view(shape)
        backend.step(ADAMW, [one], None)
        torch_step.step(ADAMW, [flat], None)
    torch.testing.assert_close(one.p.view(6, 4), flat.p)
