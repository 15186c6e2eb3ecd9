"""Every registered optimizer, accelerated or not, under one contract."""

import pytest

from autotune.optimizers import names
from autotune.optimizers.registry import resolve, stacks
from autotune.testing.optimizers import OptimizerContract, in_kernels, of_second_order, under_test


class TestOptimizers(OptimizerContract):
    @pytest.fixture(params=[*under_test(), *of_second_order()])
    def name(self, request):
        return request.param


def test_each_optimizer_is_under_test_and_the_oldest_in_every_form(monkeypatch):
    monkeypatch.delenv("AUTOTUNE_TEST_EVERY", raising=False)
    rules = list(filter(stacks, names()))
    assert {name for name in rules if resolve(name)[1] == "none"} <= {*under_test()}
    assert of_second_order() == ["adahessian"]
    assert {"adamw-sf", "sgd-sf"} <= {*under_test()}
    assert {"adan", "adan-win", "adan-win2"} <= {*in_kernels()} <= {*under_test()} <= {*rules}
    monkeypatch.setenv("AUTOTUNE_TEST_EVERY", "1")
    assert under_test() == in_kernels() == [name for name in rules if name != "radam-sf"]
