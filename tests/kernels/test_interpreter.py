"""Triton's interpreter, hastened for tests, computes what it does by itself."""

import torch

from autotune.optimizers import create
from autotune.testing import backends


def ended():
    params = [torch.nn.Parameter(torch.linspace(-1.0, 1.0, size)) for size in (1, 40)]
    optimizer = create("lamb-win2", params, backend="triton", weight_decay=0.2, max_grad_norm=0.7)
    for step in range(2):
        for p in params:
            p.grad = p.detach().cos() + step
        optimizer.step()
    return params


def test_what_is_found_out_once_for_each_type_changes_no_bit(monkeypatch):
    with backends.usable("triton"):
        found = ended()
    monkeypatch.setattr(backends, "_hasten", lambda patch: None)
    with backends.usable("triton"):
        from triton.language import core

        assert core.tensor.__init__ is not backends._tensor
        expected = ended()
    assert all(map(torch.equal, found, expected))
