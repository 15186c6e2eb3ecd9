import math

import pytest

from autotune.results.figures import together
from autotune.results.intervals import Estimate, estimate, paired, verdict


def test_interval_is_students_t():
    found = estimate([1.0, 2.0, 3.0])
    # t(0.975, 2 degrees of freedom) = 4.302653, standard error = 1 / sqrt(3)
    assert (found.mean, found.n) == (2.0, 3)
    assert found.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)
    assert found.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-6)


def test_one_value_has_no_interval():
    assert estimate([1.5]) == Estimate(mean=1.5, low=None, high=None, n=1)


def test_pairing_uses_only_seeds_both_ran():
    found = paired({2: 1.0, 3: 2.0, 4: 9.0}, {2: 2.0, 3: 3.0, 5: 0.0})
    assert found == Estimate(mean=-1.0, low=-1.0, high=-1.0, n=2)


def test_without_a_common_seed_nothing_is_compared():
    assert paired({2: 1.0}, {3: 1.0}) is None
    assert verdict(None, "a", "b") == "a and b share no seed: not compared"


@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [
        (-0.3, -0.1, "a beats b by 0.2000 (95% interval 0.1000 to 0.3000)"),
        (0.1, 0.3, "a loses to b by 0.2000 (95% interval 0.1000 to 0.3000)"),
        (-0.1, 0.3, "no significant difference between a and b (95% interval -0.1000 to +0.3000)"),
    ],
)
def test_verdict_follows_the_interval(low, high, sentence):
    difference = Estimate(mean=(low + high) / 2, low=low, high=high, n=3)
    assert verdict(difference, "a", "b") == sentence


def test_one_seed_decides_nothing():
    difference = Estimate(mean=-5.0, low=None, high=None, n=1)
    assert verdict(difference, "a", "b") == "one seed says nothing about a against b"


def test_losses_that_float64_alone_can_hold_have_a_mean_and_a_verdict():
    found = estimate([1e200, 2e200, 3e200])
    assert (found.mean, found.n) == (pytest.approx(2e200), 3)
    small = estimate([1.0, 2.0, 3.0])
    assert found.high == pytest.approx(small.high * 1e200)
    assert "beats" in verdict(paired({0: 1.0, 1: 1.0}, {0: 1e200, 1: 1e200}), "adan", "sgd")
    assert str(estimate([1e308, -1e308, 1e308]))
    assert verdict(paired({0: 1e308, 1: 1e308}, {0: -1e308, 1: 1.0}), "adan", "sgd")


def test_numbers_further_apart_than_a_float_reaches_are_written():
    assert together(1e308, -1e308) == ["1.000e+308", "-1.000e+308"]
