"""Whole training steps as a graph: forward, backward and the optimizer's, queued with one call.

A small network leaves a GPU waiting, while the host launches some hundred kernels a step. The first
steps of a trial are taken one by one, and one of them is timed; where the rest would save more than
recording takes, the next is recorded and those after it are replayed. Equal seeds give equal losses
either way: the same kernels compute them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from autotune.devices import Device, of_capture, sticky
from autotune.optimizers.eager import eager
from autotune.optimizers.registry import is_foreign
from autotune.tasks.base import Run
from autotune.tasks.mistakes import described
from autotune.tasks.training import Training
from autotune.training.building import optimizer_of
from autotune.training.gradients import descend
from autotune.training.steps import queue_step

WARM = 3  # steps of a trial before one is recorded; the last of them is timed
COST = 0.5  # seconds that recording is taken to need until one was timed; not yet measured on a GPU
WHOLE = "whole steps as a graph"

_timed: list[float] = []  # seconds that the last recording of this process needed


def capturable(run: Run, device: Device) -> bool:
    """Tell whether steps of a run may be recorded: of a task of ours, where there are graphs."""
    return isinstance(run, Training) and run.capturable and device.graph() is not None


def optimizer_for(
    run: Run, name: str, hyper: Mapping[str, Any], device: Device
) -> torch.optim.Optimizer:
    """Return the optimizer of a setting, which counts on the device if steps may be recorded.

    One by one they are then taken by the same kernels, so that a trial does not depend on it.
    """
    if capturable(run, device) and not is_foreign(name):
        try:
            return optimizer_of(run.model, name, {**hyper, "capturable": True})
        except ValueError:
            pass  # no graph can hold its steps, which ``stepper`` tells
    return optimizer_of(run.model, name, hyper)


def sending(run: Run) -> dict[str, str]:
    """Return as a fact of a trial whether its steps are recorded, where that is known."""
    told: str | None = getattr(run, "graph", None)
    return {} if told is None else {"graph": told}


def stepper(
    run: Run, optimizer: torch.optim.Optimizer, device: Device, steps: int
) -> Callable[[int], Tensor]:
    """Return what takes a step of a run, by its number from 0, and returns its loss.

    ``run.graph`` tells whether steps are recorded, and why not.

    Args:
        run: The run.
        optimizer: Its model's, as ``optimizer_for`` made it.
        device: Where it computes.
        steps: How many are to be taken.
    """
    if isinstance(run, Training) and capturable(run, device):
        if not getattr(optimizer, "capturable", False):
            run.graph = f"steps one by one: no graph holds those of {type(optimizer).__name__}"
        elif optimizer._optimizer_step_pre_hooks:  # of a controller, or what measures gradients
            run.graph = "steps one by one: what looks at each step's gradients is in no graph"
        else:
            return Captured(run, optimizer, device, steps)
    return lambda step: queue_step(run, optimizer, step)


class Captured:
    """Takes the steps of a run: some one by one, then by a graph.

    Args:
        run: The run.
        optimizer: Its model's, with ``capturable=True``.
        device: Where it computes.
        steps: How many are to be taken; infinity records one whatever that saves.
    """

    def __init__(
        self, run: Training, optimizer: torch.optim.Optimizer, device: Device, steps: float
    ) -> None:
        self._run, self._optimizer, self._device = run, optimizer, device
        self._left, self._warm = steps, WARM
        self._graph: Any = device.graph()
        self._ready = self._holds = False  # whether a step is to be recorded, and whether one was
        self._draws = False  # whether a step takes random numbers
        self._saves = 0.0  # seconds a step, at most
        self._batch: tuple[Tensor, ...] = ()  # what the graph reads
        self._loss = torch.zeros((), device=device.place)  # what it writes

    def __call__(self, step: int) -> Tensor:
        """Take step number ``step`` (from 0), and return its loss; nobody waits for it."""
        self._left -= 1
        if not self._warm and not self._ready:
            return queue_step(self._run, self._optimizer, step)
        batch = self._run.take(step)
        if self._ready:
            return self._replayed(step, batch)
        self._warm -= 1
        loss = self._timed(step, batch) if not self._warm else self._alone(step, batch)
        if not self._optimizer.state:
            self._warm = max(1, self._warm)  # fp16 leaves out steps until it has found its scale
        elif not self._warm:
            self._decide(batch)
        return loss

    def _alone(self, step: int, batch: Any) -> Tensor:
        """Take a step as ``queue_step`` does, and see whether its loss draws."""
        source = self._device.generator() or torch.default_generator
        with self._graph.aside():
            eager(self._optimizer.zero_grad)(set_to_none=True)
            with self._run.chance(step):
                before = source.get_state()
                loss = self._run.loss_of(batch)
                self._draws |= not torch.equal(before, source.get_state())
            descend(self._run, self._optimizer, loss)
        return loss.detach()

    def _timed(self, step: int, batch: Any) -> Tensor:
        """Take a step alone, and note for how long the host kept the device waiting, at most."""
        self._device.synchronize()
        began = time.perf_counter()
        loss = self._alone(step, batch)
        queued = time.perf_counter()
        self._device.synchronize()
        self._saves = max(1e-9, (queued - began) - (time.perf_counter() - queued))
        return loss

    def _decide(self, batch: Any) -> None:
        """Get ready to record the next step, if that pays."""
        cost, gain = _timed[-1] if _timed else COST, self._left * self._saves
        if gain <= cost:
            most = f"{gain:.2g} s at most"
            self._run.graph = f"steps one by one: a graph would save {most}, and take {cost:.2g} s"
        elif not _plain(batch):
            self._run.graph = "steps one by one: a batch is no tuple of tensors"
        else:
            self._batch = tuple(part.clone() for part in batch)
            self._ready = True

    def _replayed(self, step: int, batch: Any) -> Tensor:
        if [part.shape for part in batch] != [part.shape for part in self._batch]:
            return self._alone(step, batch)
        for place, new in zip(self._batch, batch, strict=True):
            place.copy_(new, non_blocking=True)
        if not self._holds:
            return self._recorded(step, batch)
        with self._run.chance(step) if self._draws else nullcontext():
            self._graph.replay()
        return self._loss.clone()

    def _recorded(self, step: int, batch: Any) -> Tensor:
        """Record a step, which takes it; or take it alone, with all that follow."""
        began = time.perf_counter()
        try:
            with self._run.chance(step):
                self._graph.record(self._work)
        except Exception as error:
            if sticky(error) and not of_capture(error):
                raise
            self._ready, self._graph = False, self._device.graph()  # whose memory is free again
            self._run.graph = f"steps one by one: {described(error)}"
            for name in ("grad_scale", "found_inf"):  # a GradScaler would multiply what it finds
                vars(self._optimizer).pop(name, None)
            return self._alone(step, batch)
        self._device.synchronize()
        _timed[:] = [time.perf_counter() - began]
        self._holds = True
        self._run.graph = WHOLE
        return self._loss.clone()

    def _work(self) -> None:
        eager(self._optimizer.zero_grad)(set_to_none=True)
        loss = self._run.loss_of(self._batch)
        descend(self._run, self._optimizer, loss)
        self._loss.copy_(loss.detach())


def _plain(batch: Any) -> bool:
    return isinstance(batch, Sequence) and all(isinstance(part, Tensor) for part in batch)
