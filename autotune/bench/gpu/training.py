"""Whole training steps of built-in tasks on a device, taken as trials take them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor

from autotune.bench.gpu.section import Late, Row, tried
from autotune.devices import Device
from autotune.optimizers import create
from autotune.optimizers.groups import split
from autotune.tasks.precision import BF16, SINGLE, Precision
from autotune.tasks.resolve import placed, resolve
from autotune.tasks.supervised import Supervised
from autotune.training.captured import WHOLE, Captured
from autotune.training.steps import queue_step

_BATCHES = 64  # kept on the device
_WARM = 5
_AT_ONCE = {"cuda": 10, "cpu": 1}  # steps between two looks at the time
_SECONDS = {"cuda": 1.5, "cpu": 0.2}  # that a rate is measured for


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How a step computes: in bfloat16 where autocast has it, and replayed as a graph."""

    half: bool = False
    graph: bool = False

    def __str__(self) -> str:
        return f"{'graph' if self.graph else 'eager'} {'bfloat16' if self.half else 'float32'}"


class Trainer:
    """A task in training as a search trains it, whose batches lie on the device beforehand.

    Losses stay there too: a search needs them where it decides, not at every step.
    """

    def __init__(self, task: Supervised, device: str, mode: Mode, seed: int = 0) -> None:
        place = Device(device)
        computed = cast(Supervised, placed(task, place)).computed(BF16 if mode.half else SINGLE)
        self.mode, self.run = mode, computed.start(seed)
        self.batches = [self.run.batch(k) for k in range(min(_BATCHES, task.steps))]
        groups = split(self.run.model, 0.02)
        self.optimizer = create("adan", groups, lr=0.01, capturable=mode.graph)
        self.losses = torch.zeros(len(self.batches), device=device)
        alone = partial(queue_step, self.run, self.optimizer)
        # Steps without end are worth a graph, whatever one saves.
        graph = partial(Captured, self.run, self.optimizer, place, math.inf)
        self._take = graph() if mode.graph else alone

    def step(self, step: int) -> None:
        """Take step number ``step``, and keep its loss."""
        k = step % len(self.batches)
        self.losses[k].copy_(self._take(k))

    def check(self) -> None:
        """Refuse a mode that is not the one in which steps were taken; raises RuntimeError."""
        if self.mode.graph and self.run.graph != WHOLE:
            raise RuntimeError(self.run.graph or "no step was recorded yet")


def supervised(name: str) -> Supervised:
    """Return a built-in task that is sure to compute in single precision."""
    task = resolve(name)
    if not isinstance(task, Supervised):
        raise TypeError(f"{name} must be a supervised task, got {type(task).__name__}")
    return replace(task, precision=Precision.FLOAT32)


def rate(step: Callable[[int], None], device: str) -> float:
    """Return steps a second, after a few to warm up."""
    _take(step, 0, _WARM, device)
    start, taken = time.perf_counter(), 0
    while time.perf_counter() - start < _SECONDS[device]:
        taken = _take(step, taken, _AT_ONCE[device], device)
    return taken / (time.perf_counter() - start)


def _take(step: Callable[[int], None], begin: int, count: int, device: str) -> int:
    """Take so many steps, wait until they are done, and return the number of the next one."""
    for k in range(begin, begin + count):
        step(k)
    if device == "cuda":
        torch.cuda.synchronize()
    return begin + count


def _pace(task: Supervised, per_second: float) -> Row:
    """Return a rate of steps, and how many settings it tries in a minute with full runs."""
    return {"steps/s": per_second, "settings/min": 60 * per_second / task.steps}


def modes(names: Sequence[str], device: str, late: Late) -> Iterator[Row]:
    """Yield the rates at which tasks train alone, in each mode that the device has."""
    known = [Mode(half=half, graph=graph) for graph in (False, True) for half in (False, True)]
    for name in names:
        task = supervised(name)
        for mode in known:
            if device == "cuda" or not mode.graph:
                row = {"task": name, "mode": str(mode)}
                yield tried(row, partial(_alone, task, device, mode))


def _alone(task: Supervised, device: str, mode: Mode) -> Row:
    trainer = Trainer(task, device, mode)
    per_second = rate(trainer.step, device)
    trainer.check()
    return _pace(task, per_second)


def streams(chosen: Mapping[str, Mode], counts: Sequence[int], late: Late) -> Iterator[Row]:
    """Yield the rates of several trials at once, each on a stream of its own."""
    for name, mode in chosen.items():
        task = supervised(name)
        for count in counts:
            names = {"task": name, "mode": str(mode), "trials": count}
            yield tried(names, partial(_together, task, mode, count))


def _together(task: Supervised, mode: Mode, count: int) -> Row:
    trials = [Trainer(task, "cuda", mode, seed=k) for k in range(count)]
    own = [torch.cuda.Stream() for _ in trials]  # type: ignore[no-untyped-call]

    def step(k: int) -> None:
        for trial, stream in zip(trials, own, strict=True):
            with torch.cuda.stream(stream):
                trial.step(k)

    per_second = count * rate(step, "cuda")
    for trial in trials:
        trial.check()
    return _pace(task, per_second)


def agreement(names: Sequence[str], steps: int, device: str, late: Late) -> Iterator[Row]:
    """Yield by which fraction losses on the device part from those on the CPU."""
    for name in names:
        yield tried(
            {"task": name, "steps": steps}, partial(_apart, supervised(name), steps, device)
        )


def _apart(task: Supervised, steps: int, device: str) -> Row:
    reference, losses = (_losses(task, steps, where) for where in ("cpu", device))
    apart = ((losses - reference).abs() / reference).tolist()
    return {"first": apart[0], "most": max(apart), "last": apart[-1]}


def _losses(task: Supervised, steps: int, device: str) -> Tensor:
    trainer = Trainer(task, device, Mode())
    for step in range(steps):
        trainer.step(step)
    return trainer.losses[:steps].cpu()
