"""Trials on a GPU: what they start from, what they wait for, and what is known of it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from autotune.devices import Device, gpus, resolve
from autotune.tasks.resolve import placed
from autotune.tasks.resolve import resolve as task_of
from autotune.training import ahead
from autotune.training.loading import build, exactly
from autotune.training.loop import train
from autotune.training.pulse import silent
from autotune.training.steps import Segment

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA or ROCm device"),
]
WATCHED = pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")
TASKS = ["mlp", "resnet-mini", "gpt-nano"]
SEGMENT = Segment(start=0, stop=20, target=81, warmup=0.1, evaluate=frozenset({9, 20}), every=2)


def curve(model: str, kind: str) -> list[Any]:
    """Return the points of a run without their seconds."""
    task = placed(task_of(model, steps=81), Device(kind))
    with exactly(task):
        run, optimizer = build(task, "adan", {"lr": 1e-3}, 0)
        points = train(run, optimizer, SEGMENT, device=task.device)
        return [replace(point, seconds=0.0) for point in points]


def test_the_driver_tells_what_torch_does():
    [card, *_] = gpus(None)
    assert card.capability == torch.cuda.get_device_capability(0)
    assert card.name in torch.cuda.get_device_name(0) or torch.cuda.get_device_name(0) in card.name
    assert abs(card.memory[1] / torch.cuda.mem_get_info(0)[1] - 1) < 0.05
    assert resolve("auto").kind == ("cuda" if card.capability >= (7, 0) else "cpu")


def test_planning_a_search_starts_no_cuda():
    code = (
        "import torch\n"
        "from autotune.search.plan import plan\n"
        "from autotune.studies.spec import parse\n"
        "facts = plan(parse({'model': 'resnet-mini', 'device': 'cuda'})).task\n"
        "assert facts['device'] == 'cuda', facts\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("model", TASKS)
def test_a_run_starts_from_the_weights_and_batches_of_the_cpu(model):
    here = task_of(model)
    there = replace(placed(here, Device("cuda")), precision=here.precision)
    ours, theirs = here.model(3).state_dict(), there.model(3).state_dict()
    assert all(torch.equal(value, theirs[name].cpu()) for name, value in ours.items())
    with exactly(there):
        losses = [task.start(3).loss(0).item() for task in (here, there)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("model", TASKS)
def test_equal_seeds_give_equal_curves(model):
    assert curve(model, "cuda") == curve(model, "cuda")


class Enough(Exception):
    """Raised at the first look."""


@WATCHED
@pytest.mark.parametrize("model", TASKS)
def test_the_host_waits_for_no_step(model, monkeypatch):
    monkeypatch.setattr(ahead, "PATIENCE", 1e9)
    curve(model, "cuda")  # kernels are compiled, batches are there
    task = placed(task_of(model, steps=81), Device("cuda"))
    run, optimizer = build(task, "adan", {"lr": 1e-3}, 0)
    far = replace(SEGMENT, start=2, stop=81, evaluate=frozenset())
    for step in range(far.start, 2 * ahead.LOOK):
        run.batch(step)

    def stop() -> bool:
        raise Enough

    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(Enough):
            list(train(run, optimizer, far, stop, silent, task.device))
    finally:
        torch.cuda.set_sync_debug_mode("default")
