"""Replicas on a device end, bit for bit, where their own optimizers would have taken them."""

import pytest
import torch

from autotune.optimizers import Stacked, create
from autotune.testing.optimizers import under_test

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA or ROCm device"),
]

SHAPES = [(5000,), (64, 33), (1,), ()]


def drawn(count, seed):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(count, *shape, generator=draw).cuda() for shape in SHAPES]


@pytest.mark.parametrize("name", under_test())
def test_replicas_end_where_their_own_optimizers_end(name):
    rows = [{"lr": 0.05 * (k + 1), "weight_decay": 0.1, "max_grad_norm": 0.5 * k} for k in range(3)]
    stack = Stacked(name, [torch.nn.Parameter(p) for p in drawn(3, 0)], rows, "triton")
    alone = [[torch.nn.Parameter(p[k].clone()) for p in drawn(3, 0)] for k in range(3)]
    own = [
        create(name, params, backend="triton", **row)
        for params, row in zip(alone, rows, strict=True)
    ]
    for seed in (1, 2, 3):
        for i, g in enumerate(drawn(3, seed)):
            stack.params[i].grad = g
            for k in range(3):
                alone[k][i].grad = g[k].clone()
        stack.step()
        for optimizer in own:
            optimizer.step()
    for k in range(3):
        for p, wanted in zip(stack.params, alone[k], strict=True):
            assert torch.equal(p[k], wanted)
