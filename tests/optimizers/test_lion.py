"""Lion moves by the sign: of zero, of tiny numbers, and of what is none."""

import math

import pytest
import torch

from autotune.optimizers import create
from autotune.testing.backends import BACKENDS, usable


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_sign_of_zero_is_zero_and_that_of_nan_is_seen(backend):
    with usable(backend):
        p = torch.nn.Parameter(torch.zeros(5))
        p.grad = torch.tensor([1e-30, -3.0, 0.0, math.nan, -math.inf])
        create("lion", [p], lr=0.5, backend=backend).step()
    expected = torch.tensor([-0.5, 0.5, 0.0, math.nan, 0.5])
    torch.testing.assert_close(p.detach(), expected, equal_nan=True)


def test_it_keeps_one_average():
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    optimizer = create("lion", [p])
    optimizer.step()
    assert set(optimizer.state[p]) == {"exp_avg", "step"}
