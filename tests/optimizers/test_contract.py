"""Every registered optimizer, accelerated or not, under one contract."""

import pytest

from autotune.optimizers import names
from autotune.testing.optimizers import OptimizerContract, in_kernels, of_second_order, under_test


class TestOptimizers(OptimizerContract):
    @pytest.fixture(params=[*under_test(), *of_second_order()])
    def name(self, request):
        return request.param


def test_each_optimizer_is_under_test_and_the_oldest_in_every_form(monkeypatch):
    monkeypatch.delenv("AUTOTUNE_TEST_EVERY", raising=False)
    plain = {name.removesuffix("-win2").removesuffix("-win") for name in names()}
    assert plain <= {*under_test(), *of_second_order()}
    assert {"adan", "adan-win", "adan-win2"} <= {*in_kernels()} <= {*under_test()} <= {*names()}
    monkeypatch.setenv("AUTOTUNE_TEST_EVERY", "1")
    assert under_test() == in_kernels() == [n for n in names() if not n.startswith("adahessian")]
