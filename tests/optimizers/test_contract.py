"""Every registered optimizer, accelerated or not, under one contract."""

import pytest

from autotune.optimizers import names
from autotune.optimizers.registry import resolve
from autotune.testing.optimizers import OptimizerContract, in_kernels, under_test


class TestOptimizers(OptimizerContract):
    @pytest.fixture(params=under_test())
    def name(self, request):
        return request.param


def test_each_optimizer_is_under_test_and_the_oldest_in_every_form(monkeypatch):
    monkeypatch.delenv("AUTOTUNE_TEST_EVERY", raising=False)
    assert {name for name in names() if resolve(name)[1] == "none"} <= {*under_test()}
    assert {"adamw-sf", "sgd-sf"} <= {*under_test()}
    assert {"adan", "adan-win", "adan-win2"} <= {*in_kernels()} <= {*under_test()} <= {*names()}
    monkeypatch.setenv("AUTOTUNE_TEST_EVERY", "1")
    assert under_test() == in_kernels() == [name for name in names() if name != "radam-sf"]
