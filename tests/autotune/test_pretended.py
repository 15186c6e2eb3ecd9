"""Every task on a device of no known kind, in one process of its own: what it must not do."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache

import pytest

from autotune import registry
from autotune.testing.tasks import LARGE

# Prints by name what a task did wrong, or nothing; the last three are made to do so.
SCRIPT = """
import json, sys, warnings
from dataclasses import replace
import torch
from autotune import Problem
from autotune.tasks.given import offered
from autotune.tasks.resolve import resolve
from autotune.tasks.training import CrossEntropy
from autotune.testing.pretended import examine, prepared

warnings.simplefilter("ignore")  # torch's, of private parts that a pretended device is made with


class Asking(CrossEntropy):
    def loss(self, model, batch):
        loss = super().loss(model, batch)
        return loss * (1.0 if loss.item() > 0 else 0.0)


class Mixing(CrossEntropy):
    def loss(self, model, batch):
        loss = super().loss(model, batch)
        return loss + torch.zeros(2).sum(0, keepdim=True)


class Asleep(CrossEntropy):
    def measure(self, model, batch):
        measured = super().measure(model, batch)
        return replace(measured, accuracy=measured.accuracy.item())


class Wrong(CrossEntropy):
    def logits(self, model, inputs):
        with torch.autocast("cpu", torch.bfloat16):
            return super().logits(model, inputs)


class Plain(CrossEntropy):
    def logits(self, model, inputs):
        return model(inputs)


def problem(seed):
    batches = [torch.ones(4, 1)] * 3
    return Problem(
        model=torch.nn.Linear(1, 1), train=batches, validation=batches,
        loss=lambda model, x: model(x).square().mean(),
        accuracy=lambda model, x: (model(x) > 0).float().mean(),
    )


def told(task):
    try:
        examine(task, mode)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


mode, found = prepared(), {}
small = resolve("resnet-mini")
for name in sys.argv[1:]:
    found[name] = told(resolve(name))
for planted in (Asking, Mixing, Asleep, Wrong, Plain):
    found[planted.__name__] = told(replace(small, objective=planted))
with offered(problem, "inline") as text:
    found["a user's problem"] = told(resolve(text, steps=3))
print(json.dumps(found))
"""
WAITING = {"detr-mini"}  # whose objective says that it waits for the device
NAMES = sorted(set(registry.names("autotune.tasks")) - LARGE - WAITING)


@cache
def found() -> dict[str, str | None]:
    """Return what each task did wrong; one process is enough for all of them."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *NAMES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, str | None] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("name", [*NAMES, "a user's problem"])
def test_a_task_uses_its_device_alone_and_waits_for_nothing(name):
    assert found()[name] is None


@pytest.mark.parametrize(
    ("planted", "error"),
    [
        ("Asking", "DataDependentOutputException: aten._local_scalar_dense.default"),
        ("Mixing", "uses a tensor of another device at <string>:"),
        ("Asleep", "DataDependentOutputException: aten._local_scalar_dense.default"),
        ("Wrong", "RuntimeError: autocast is entered for cpu, expected pretend"),
        ("Plain", "RuntimeError: model 'resnet-mini' says bfloat16 and enters no autocast"),
    ],
)
def test_a_planted_fault_is_found(planted, error):
    assert error in found()[planted]
