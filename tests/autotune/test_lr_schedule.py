import pytest

from autotune.training.lr_schedule import interpolated, multiplier


def test_warm_up_rises_evenly_and_never_takes_a_step_at_zero():
    rising = [multiplier(step, 40, 0.1) for step in range(4)]
    assert rising == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_the_peak_comes_right_after_warm_up():
    assert multiplier(4, 40, 0.1) == 1.0


def test_the_cosine_reaches_half_in_the_middle_and_zero_only_after_the_end():
    assert multiplier(22, 40, 0.1) == pytest.approx(0.5)
    assert 0 < multiplier(39, 40, 0.1) < 0.01
    assert multiplier(40, 40, 0.1) == pytest.approx(0.0)


def test_no_warm_up_starts_at_the_peak():
    assert multiplier(0, 10, 0.0) == 1.0


def test_all_warm_up_is_allowed():
    assert multiplier(9, 10, 1.0) == pytest.approx(10 / 11)


def test_a_table_begins_at_the_first_step_and_ends_at_the_last_whatever_the_length():
    table = [0.2, 1.0, 0.0]
    assert [interpolated(table, step, 3) for step in range(3)] == table
    assert [multiplier(s, 5, 0.4, table=table) for s in range(5)] == [0.2, 0.6, 1.0, 0.5, 0.0]
    assert interpolated(table, 5, 5) == 0.0
    assert interpolated(table, 0, 1) == 0.2
