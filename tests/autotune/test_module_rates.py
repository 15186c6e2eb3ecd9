import math

import pytest
import torch

from autotune.training.module_rates import disagreement, due, preconditioned, updated


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


def test_modules_are_measured_at_intervals_once_warmed_up():
    assert [step for step in range(12) if due(step, 4, 3)] == [6, 9]


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
