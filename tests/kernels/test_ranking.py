"""Order statistics of whole tensors, exact on every backend, and clipping by them."""

import math

import numpy as np
import pytest
import torch

from autotune.kernels import backends, torch_step
from autotune.kernels.lang import plain
from autotune.kernels.naive.coord_clip import clipped
from autotune.kernels.rule import Rule, Update, place_of
from autotune.kernels.rules import coord_clip
from autotune.kernels.rules.decay import DESCENT
from autotune.kernels.rules.given import GIVEN
from autotune.testing.backends import usable

EARLY = Rule(direction=GIVEN, application=DESCENT, gradient_shaping=coord_clip.GRADIENT)
BOTH = Rule(
    direction=GIVEN,
    application=DESCENT,
    gradient_shaping=coord_clip.GRADIENT,
    shaping=coord_clip.UPDATE,
)
FP64 = torch.float64
SHARES = (0.1, 0.29, 0.5, 0.7, 1.0 - 2.0**-53)


def cases(size, dtype):
    """Return gradients: drawn, with ties, with zeros mostly, all 0, and with what is no number."""
    draw = np.random.default_rng(size)
    values = draw.standard_normal((5, size)) * 10.0 ** draw.integers(-30, 30, (5, 1))
    values[1] = draw.integers(-2, 3, size)
    values[2, : size // 2 + 1] = 0.0
    values[3] = -0.0
    if size:
        values[4, 0], values[4, -1] = math.nan, -math.inf
    return [torch.tensor(each).to(dtype) for each in values]


def updates(sizes, shares, dtype=torch.float32):
    return [
        (Update(torch.zeros_like(g), g, (), (1.0, *coord_clip.share(share))), share)
        for size in sizes
        for share in shares
        for g in cases(size, dtype)
    ]


def moved(rule, backend, pairs):
    with usable(backend):
        backends.load(backend).step(rule, [update for update, _ in pairs], None)


def assert_same(actual, values):
    torch.testing.assert_close(actual, values, rtol=0, atol=0, equal_nan=True)


def expected(update, share):
    g = update.g.double()  # exact
    return -torch.tensor(clipped(g.tolist(), share), dtype=FP64).to(update.p.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_the_threshold_is_the_same_element_as_of_the_sorted_tensor(dtype):
    pairs = updates((0, 1, 2, 7, 10, 100, 333), SHARES, dtype)
    moved(EARLY, "torch", pairs)
    for update, share in pairs:
        assert_same(update.p, expected(update, share))


KINDS = [("numba", torch.float32, (0, 1, 333, 5000)), ("triton", FP64, (0, 18))]


@pytest.mark.parametrize(("backend", "dtype", "sizes"), KINDS, ids=str)
def test_kernels_find_the_same_elements_of_a_gradient_and_of_its_update(backend, dtype, sizes):
    pairs = [
        (one._replace(row=(*one.row, *coord_clip.share(0.5))), share)
        for one, share in updates(sizes, (0.29,), dtype)
    ]
    pairs = pairs if backend == "numba" else pairs[4:8]
    moved(BOTH, backend, pairs)
    for update, share in pairs:
        values = clipped(clipped(update.g.double().tolist(), share), 0.5)
        assert_same(-update.p.double(), torch.tensor(values, dtype=FP64))


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_numbers_in_double_precision_are_sorted_by_all_their_bits(size):
    statistic = pytest.importorskip("autotune.kernels.numba.ranking").statistic(FP64)
    values = 1.0 + np.random.default_rng(0).random(size) * 2.0**-30
    for place in {0, size // 3, size - 1}:
        assert statistic(values.copy(), place) == np.sort(values)[place]


def test_a_large_tensor_is_clipped_by_a_quantile_of_all_its_pieces(monkeypatch):
    whole, cut = (updates((100,), (0.3,)) for _ in range(2))
    moved(EARLY, "torch", whole)
    monkeypatch.setattr(torch_step, "_PIECE", 16)
    moved(EARLY, "torch", cut)
    for (a, _), (b, _) in zip(whole, cut, strict=True):
        assert_same(a.p, b.p)


@pytest.mark.parametrize("size", [1, 10, 100, 2**24 + 1, 10**9 + 7])
@pytest.mark.parametrize("share", [*SHARES, 1e-9, 1.0 / 3.0])
def test_a_row_in_single_precision_counts_the_elements_of_the_share_itself(share, size):
    row = np.array(coord_clip.share(share), np.float32).astype(np.float64).tolist()
    count = plain(coord_clip.above)((), float(size), row)
    assert count == share * size
    assert place_of(count, size) == size - 1 - min(math.floor(share * size), size - 1)


def test_the_reference_is_the_quantile_that_numpy_has_too():
    values = np.random.default_rng(0).standard_normal(40)
    for share in (0.1, 0.3, 0.5):
        limit = np.quantile(np.abs(values), 1.0 - share, method="inverted_cdf")
        assert np.abs(clipped(values.tolist(), share)).max() == limit
        assert (np.abs(values) > limit).sum() == share * 40
