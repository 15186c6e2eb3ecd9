"""What makes two settings the same to a run."""

from dataclasses import replace

import pytest

from autotune.studies.setting import Setting

SETTING = Setting(params={"lr": 0.1, "timescale": 1e3}, hyper={"lr": 0.1}, warmup=0.1)


def test_coordinates_without_effect_make_no_other_run():
    other = replace(SETTING, params={"lr": 0.1, "timescale": 1e4})
    assert other != SETTING
    assert SETTING.trains_like(other)


@pytest.mark.parametrize("change", [{"hyper": {"lr": 0.2}}, {"warmup": 0.2}])
def test_another_argument_or_warm_up_makes_another_run(change):
    assert not SETTING.trains_like(replace(SETTING, **change))
