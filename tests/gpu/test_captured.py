"""Whole steps of built-in tasks as graphs: their losses are those of steps taken one by one."""

import math

import pytest
import torch

from autotune.devices import Device
from autotune.tasks.resolve import placed, resolve
from autotune.training import checkpoint
from autotune.training.captured import WHOLE, Captured, optimizer_for
from autotune.training.steps import queue_step, set_rates

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA or ROCm device"),
]

CUDA, STEPS = Device("cuda"), 12


def begun(name, word):
    task = placed(resolve(name, steps=STEPS), CUDA).computed(word)
    run = task.start(0)
    return run, optimizer_for(run, "adan", {"lr": 0.01, "max_grad_norm": 1.0}, CUDA)


def losses(run, optimizer, take, first=0, last=STEPS):
    found = []
    with CUDA.exactly(strict=True):
        for step in range(first, last):
            set_rates(optimizer, [0.01] * len(optimizer.param_groups), 1 / (step + 1))
            found.append(take(step))
        return torch.stack(found).tolist()


def alone(name, word):
    run, optimizer = begun(name, word)
    return losses(run, optimizer, lambda step: queue_step(run, optimizer, step))


@pytest.mark.parametrize("word", ["float32", "bf16", "fp16"])
@pytest.mark.parametrize("name", ["mlp", "resnet-mini", "gpt-nano", "mae-mini"])
def test_a_graph_computes_what_steps_one_by_one_do(name, word):
    run, optimizer = begun(name, word)
    found = losses(run, optimizer, Captured(run, optimizer, CUDA, math.inf))
    assert run.graph == WHOLE
    assert found == alone(name, word)


def test_a_run_in_a_graph_goes_on_as_if_it_had_not_paused(tmp_path):
    run, optimizer = begun("resnet-mini", "float32")
    found = losses(run, optimizer, Captured(run, optimizer, CUDA, math.inf), 0, 6)
    checkpoint.save(tmp_path / "state", run.model, optimizer, 6, 1, run.data_state())
    run, optimizer = begun("resnet-mini", "float32")
    assert checkpoint.restore(tmp_path / "state", run.model, optimizer, 6, 1) == 6
    found += losses(run, optimizer, Captured(run, optimizer, CUDA, math.inf), 6)
    assert found == alone("resnet-mini", "float32")
