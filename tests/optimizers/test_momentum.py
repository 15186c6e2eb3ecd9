"""The product of NAdam's momenta follows from the step, in double precision."""

import math

import pytest

from autotune.optimizers.momentum import momentum, product

STEPS = (1, 2, 3, 10, 100, 1000, 10_000)


@pytest.mark.parametrize("decay", [0.0, 1e-9, 1e-4, 4e-3, 0.1, 1.0, 30.0, 1e4], ids=str)
@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.999], ids=str)
def test_it_is_what_multiplying_one_by_one_gives(beta, decay):
    found, expected = 1.0, {}
    for t in range(1, STEPS[-1] + 1):
        found *= momentum(beta, decay, t)
        expected[t] = found
    for t in STEPS:
        assert math.isclose(1 - product(beta, decay, t), 1 - expected[t], rel_tol=1e-12)


def test_it_is_nothing_after_very_many_steps():
    assert product(0.9999, 4e-3, 10**9) == 0.0
    assert product(1 - 1e-9, 4e-3, 10**12) == 0.0
    assert product(0.9, 0.0, 10**9) == 0.0


def test_a_momentum_grows_from_half_to_whole():
    assert momentum(0.9, 4e-3, 0) == pytest.approx(0.45)
    assert momentum(0.9, 4e-3, 10**6) == pytest.approx(0.9)
