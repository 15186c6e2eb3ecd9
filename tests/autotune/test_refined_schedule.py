import numpy as np
import pytest

from autotune.training.refined_schedule import ADAM_L1, SGD_L2, refined, resampled, smoothed


@pytest.mark.parametrize("power", [ADAM_L1, SGD_L2])
@pytest.mark.parametrize("norm", [1e-3, 1.0, 40.0])
def test_constant_norms_give_linear_decay_to_zero(power, norm):
    made = refined([norm] * 11, power=power)
    assert made == pytest.approx([1.0 - k / 10.0 for k in range(11)])


def test_rates_do_not_depend_on_the_scale_of_norms():
    norms = [3.0, 1.0, 0.5, 0.7, 0.6, 0.9]
    for power in (ADAM_L1, SGD_L2):
        scaled = refined([1000.0 * norm for norm in norms], power=power)
        assert scaled == pytest.approx(refined(norms, power=power))


def test_large_norms_at_first_are_a_warm_up():
    made = refined([10.0, 5.0, 2.0, *[1.0] * 20], power=SGD_L2)
    assert made[0] < made[1] < made[2] < made[3] == 1.0
    assert made[3:] == sorted(made[3:], reverse=True)


def test_the_formula_step_by_step():
    # weights 1, 1/4, 1 under the power 2; sums after each 5/4, 1, 0
    assert refined([1.0, 2.0, 1.0], power=SGD_L2) == pytest.approx([1.0, 0.2, 0.0])
    assert refined([1.0, 2.0, 1.0], power=ADAM_L1) == pytest.approx([1.0, 1.0 / 3.0, 0.0])


def test_a_median_ignores_a_spike_and_keeps_the_ends():
    norms = np.array([1.0, 1.0, 1.0, 99.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    assert smoothed(norms, 0.3).tolist() == [1.0] * 10
    rising = np.arange(1.0, 11.0)
    # before the first step it is repeated; after the last, 9 comes again
    assert smoothed(rising, 0.2).tolist() == [*np.arange(1.0, 10.0), 9.0]
    assert smoothed(rising, 0.1).tolist() == rising.tolist()


@pytest.mark.parametrize(
    ("norms", "more", "sentence"),
    [
        ([1.0], {}, r"norms must be of 2 steps or more, got shape \(1,\)"),
        ([1.0, 0.0], {}, "norms must be above 0 and finite, got 0 at step 1"),
        ([float("nan"), 1.0], {}, "norms must be above 0 and finite, got nan at step 0"),
        ([1.0, 1.0], {"power": 3}, "power must be 1 or 2, got 3"),
        ([1.0, 1.0], {"tau": 1.0}, r"tau must be in \[0, 1\), got 1"),
    ],
)
def test_what_makes_no_schedule_is_refused(norms, more, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        refined(norms, **{"power": SGD_L2, **more})


def test_a_long_schedule_becomes_a_table_of_at_most_so_many_values():
    rates = refined([1.0] * 1001, power=ADAM_L1)
    table = resampled(rates, most=5)
    assert table == (1.0, 0.75, 0.5, 0.25, 0.0)
    assert resampled([0.1234567, 1.0, 0.0]) == (0.123457, 1.0, 0.0)
