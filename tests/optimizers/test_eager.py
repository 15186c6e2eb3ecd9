"""Where nothing compiles, no compiler is loaded to keep it out."""

import functools
import sys

import pytest
import torch

from autotune.optimizers.eager import eager


@pytest.fixture
def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.ones(2))])


def test_without_a_compiler_its_decorator_is_left_out(optimizer, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    assert eager(optimizer.zero_grad).__func__ is torch.optim.Optimizer.zero_grad.__wrapped__


def test_with_a_compiler_its_decorator_stays(optimizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch._dynamo", object())
    assert eager(optimizer.zero_grad) == optimizer.zero_grad


def test_what_somebody_else_has_wrapped_is_called_as_it_is(optimizer, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    called = []

    @functools.wraps(torch.optim.SGD.zero_grad)
    def counted(self):
        called.append(self)

    monkeypatch.setattr(torch.optim.SGD, "zero_grad", counted)
    eager(optimizer.zero_grad)()
    assert called == [optimizer]
