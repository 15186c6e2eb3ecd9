"""A device that holds no numbers, and whose kind is none that torch knows.

On it a step raises where it meets a tensor of the CPU, where it reads a number, and where it enters
autocast for another kind of device. torch takes one such kind for as long as a process lives, so
tests use it in a process of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from autotune import devices
from autotune.devices import Device
from autotune.optimizers import create
from autotune.tasks import training
from autotune.tasks.base import Run, Task
from autotune.tasks.precision import BF16
from autotune.tasks.resolve import placed
from autotune.tasks.supervised import Supervised
from autotune.tasks.training import Training
from autotune.training.steps import queue_step

KIND = "pretend"
STEPS = (1, 2)  # not 0, after which a run reads its first batch to tell it from others


def prepared() -> FakeTensorMode:
    """Make the device known to torch in this process, and return the mode that computes on it."""
    _setup_privateuseone_for_python_backend(KIND)
    return FakeTensorMode(allow_non_fake_inputs=True)


def examine(task: Task, mode: FakeTensorMode) -> None:
    """Take two steps of a task on the device and measure it, in each precision that it may have.

    Raises:
        RuntimeError: It uses a tensor of another device, reads a number, or enters autocast for
            another kind of device; torch's own errors, some of them of other types, say where.
    """
    moved = placed(task, Device(KIND))
    with _ready(mode) as entered:
        _train(moved, mode)
        if not isinstance(moved, Supervised):
            return
        entered.clear()
        run = moved.computed(BF16).start(0)
        _make_batches(run)
        with mode:
            run.loss(1)
        if not entered:
            raise RuntimeError(f"model '{task.name}' says bfloat16 and enters no autocast")


def _train(task: Task, mode: FakeTensorMode) -> None:
    run = task.start(0)
    optimizer = create("sgd", run.model.parameters(), lr=0.1, backend="torch")
    _make_batches(run)
    with mode:
        for step in STEPS:
            _on_the_device(queue_step(run, optimizer, step))
        _measure(run)


def _make_batches(run: Run) -> None:
    """Let a run have batches that were made outside of the mode, in which the CPU makes none."""
    if isinstance(run, Training):
        run.batch = [run.batch(step) for step in range(max(STEPS) + 1)].__getitem__
        run.validation = run.validation[:1]  # one tells as much as all


def _measure(run: Run) -> None:
    if not isinstance(run, Training):
        return
    for each in run.unread():
        _on_the_device(each.loss)
        if each.accuracy is not None:
            _on_the_device(each.accuracy)


def _on_the_device(value: Any) -> None:
    if not isinstance(value, Tensor) or value.device.type != KIND:
        where = value.device if isinstance(value, Tensor) else "a number of Python"
        raise RuntimeError(f"a loss or an accuracy is on {where}, expected {KIND}")


def _there(entries: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in entries.items() if value is not None]


@contextmanager
def _ready(mode: FakeTensorMode) -> Iterator[list[str]]:
    """Let models and batches be moved to the device; gives the kinds that autocast was for."""
    entered: list[str] = []

    def sent(value: Any, where: torch.device) -> Any:
        with mode:
            return mode.from_tensor(value).to(where)

    def moved(model: nn.Module, where: torch.device) -> nn.Module:
        # Module.to would swap the memory of weights, which these have none of.
        made: dict[nn.Parameter, nn.Parameter] = {}  # several modules may share one
        for module in model.modules():
            for name, weight in _there(module._parameters):
                new = nn.Parameter(sent(weight.detach(), where), weight.requires_grad)
                module._parameters[name] = made.setdefault(weight, new)
            for name, buffer in _there(module._buffers):
                module._buffers[name] = sent(buffer, where)
        return model

    @contextmanager
    def autocast(kind: str, *_: Any, enabled: bool = True, **__: Any) -> Iterator[None]:
        if enabled and kind != KIND:
            raise RuntimeError(f"autocast is entered for {kind}, expected {KIND}")
        entered.append(kind)
        yield

    with (
        patch.object(devices, "_sent", sent),
        patch.object(nn.Module, "to", moved),
        patch.object(torch, "autocast", autocast),
        patch.object(training, "PASSES", max(STEPS)),
    ):
        yield entered
