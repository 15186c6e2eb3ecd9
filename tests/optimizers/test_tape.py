"""What is noted of an optimizer's formulas makes the same scalars as the formulas."""

import numpy as np
import pytest
import torch

from autotune.optimizers import create, names, scalars, tape
from autotune.optimizers.formulas import _played
from autotune.optimizers.registry import stacks

STEPS = np.array([1, 2, 3, 5, 6, 7, 40, 1000, 10**6], dtype=np.float64)
RAMPS = {"alpha_warmup": 6, "beta3_warmup": 40}
CASES = [
    *((name, {}) for name in names() if stacks(name)),
    ("ademamix", RAMPS),
    ("nadamw-torch", {"momentum_decay": 0.0}),
    ("radam", {"betas": (0.9, 0.6)}),
]


@pytest.mark.parametrize(("name", "hyper"), CASES, ids=str)
def test_the_device_can_compute_every_row(name, hyper):
    optimizer = create(name, [torch.nn.Parameter(torch.ones(1))], weight_decay=0.1, **hyper)
    [group] = optimizer.param_groups
    rule = optimizer.rule(group)
    noted = tape.noted(optimizer, group, rule)
    assert noted is not None, "its formulas do more with a step than arithmetic"
    rates = np.full(len(STEPS), group["lr"])
    constants = [np.full(len(STEPS), constant) for constant in noted[1]]
    share = 0.3 if noted[0].averaged else None
    shares = np.full(len(STEPS), share or np.nan)
    rows = _played(noted[0], (STEPS, rates, shares), constants)
    for step, row in zip(STEPS.astype(int).tolist(), rows, strict=True):
        expected = scalars.row(optimizer, group, rule, step, False, share=share)
        assert row.tolist() == pytest.approx(expected, rel=1e-14, abs=0.0)


@pytest.mark.parametrize(("name", "hyper"), CASES[-3:], ids=str)
def test_operators_compute_the_same_rows(name, hyper):
    optimizer = create(name, [torch.nn.Parameter(torch.ones(1))], **hyper)
    [group] = optimizer.param_groups
    rows = optimizer.scalars(group, torch.from_numpy(STEPS), False)
    for k, step in enumerate(STEPS.astype(int).tolist()):
        found = [float(v[k]) if isinstance(v, torch.Tensor) else v for v in rows]
        expected = optimizer.scalars(group, step, False)
        assert found == pytest.approx(expected, rel=1e-14, abs=0.0)
