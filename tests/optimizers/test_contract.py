"""Every registered optimizer, accelerated or not, under one contract."""

import pytest

from autotune.optimizers import names
from autotune.testing.optimizers import OptimizerContract


class TestOptimizers(OptimizerContract):
    @pytest.fixture(params=names())
    def name(self, request):
        return request.param
