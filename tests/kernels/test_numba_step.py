"""What only the numba backend promises."""

from dataclasses import replace

import pytest
import torch

from autotune.kernels import plan
from autotune.kernels.rule import Rule, Update
from autotune.kernels.rules.adam import ADAM
from autotune.kernels.rules.decay import DECOUPLED, PROXIMAL
from autotune.optimizers import AdamW

numba_step = pytest.importorskip("autotune.kernels.numba.step")

ADAMW = Rule(direction=ADAM, application=DECOUPLED)
ROW = (0.0, 0.9, 0.1, 0.999, 0.001, 0.1, 0.03, 1e-8, 0.1, 0.2)


def test_a_schedule_compiles_nothing_new():
    before = numba_step._compiled.cache_info().currsize
    for lr in (0.1, 0.01, 0.0, 1.0):
        p, g, m, v = torch.rand(4, 5)
        numba_step.step(ADAMW, [Update(p, g, (m, v), (*ROW[:8], lr, 0.0))], None)
    assert numba_step._compiled.cache_info().currsize - before <= 1
    compiled = numba_step._compiled(ADAMW, torch.float32, (torch.float32,) * 4)
    assert len(compiled.signatures) == 1


def test_a_rule_is_known_by_its_parts():
    assert replace(ADAMW) == ADAMW
    assert Rule(direction=ADAM, application=PROXIMAL) != ADAMW


def test_many_small_optimizers_are_planned_once(monkeypatch):
    optimizers = []
    for _ in range(100):
        p = torch.nn.Parameter(torch.ones(2))
        p.grad = torch.ones(2)
        optimizers.append(AdamW([p], backend="numba"))
        optimizers[-1].step()
    arranged = []
    monkeypatch.setattr(plan.Plan, "_arrange", lambda *given: arranged.append(given))
    for optimizer in optimizers:
        optimizer.step()
    assert not arranged
