from functools import cache

import numpy as np
import pytest
import torch
from numba import njit

from autotune.kernels.numba.exponential import exponential

NUMBERS = {torch.float32: np.float32, torch.float64: np.float64}


@pytest.fixture(params=NUMBERS, ids=str)
def dtype(request):
    return request.param


@cache
def compiled(dtype):
    exp = exponential(dtype)

    @njit
    def run(given, out):
        for i in range(len(given)):
            out[i] = exp(given[i])

    return run


def computed(dtype, values):
    given = np.asarray(values, dtype=NUMBERS[dtype])
    out = np.empty_like(given)
    compiled(dtype)(given, out)
    return given, out


def test_the_exponential_is_exact_to_two_units_in_the_last_place(dtype):
    span = 86.0 if dtype is torch.float32 else 707.0
    values = np.concatenate([np.linspace(-span, span, 100_001), np.linspace(-1.0, 1.0, 10_001)])
    given, found = computed(dtype, values)
    exact = np.exp(given.astype(np.longdouble))
    off = np.abs(found.astype(np.longdouble) - exact) / np.spacing(exact.astype(given.dtype))
    assert off.max() <= 2.0


def test_the_ends_are_zero_and_infinity_and_nan_stays(dtype):
    _, found = computed(dtype, [-np.inf, -1e4, 0.0, -0.0, 1e4, np.inf, np.nan])
    assert found[:6].tolist() == [0.0, 0.0, 1.0, 1.0, np.inf, np.inf]
    assert np.isnan(found[6])


def test_the_largest_results_are_still_finite(dtype):
    most = np.log(np.finfo(NUMBERS[dtype]).max) * (1.0 - 1e-6)
    given, found = computed(dtype, [most])
    assert found == pytest.approx(np.exp(given.astype(np.float64)), rel=1e-5)
