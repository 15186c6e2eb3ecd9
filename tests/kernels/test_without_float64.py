"""On devices without float64 a step computes nothing in it: Apple's GPUs refuse such tensors."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from autotune.kernels import layout
from autotune.optimizers import create
from autotune.testing.optimizers import under_test


class Wide(TorchDispatchMode):
    """Notes the operations that make a float64 tensor on the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for each in out if isinstance(out, (list, tuple)) else [out]:
            if isinstance(each, torch.Tensor) and each.is_meta and each.dtype is torch.float64:
                self.found.add(str(function))
        return out


def stepped(name: str) -> set[str]:
    """Return what two clipped steps compute in float64 on a device."""
    weights = [torch.nn.Parameter(torch.ones(4, 3, device="meta")) for _ in range(2)]
    optimizer = create(name, weights, max_grad_norm=1.0)
    with Wide() as wide:
        for _ in range(2):
            for weight in weights:
                weight.grad = torch.ones_like(weight)
            optimizer.step()
    return wide.found


@pytest.mark.parametrize("name", under_test())
def test_a_clipped_step_needs_no_float64_where_there_is_none(name, monkeypatch):
    assert stepped(name)
    monkeypatch.setattr(layout, "WITHOUT_FLOAT64", {"meta"})
    assert stepped(name) == set()
