"""A small task that trains itself, for tests: a real loop that notes what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from autotune.devices import CPU, Device
from autotune.tasks.base import LOOP, Assignment, Measured, Measurement, missing_last
from autotune.training import paused


@dataclass(frozen=True, kw_only=True)
class Parabola:
    """Finds the lowest point of a parabola, and measures when it likes.

    Args:
        steps: Of a full run.
        measured: Steps after which it measures; ends after the last of them.
        log: What happened to its trainings, such as ``("begin", 1)``, with the trial.
        broken: Raises at this step.
        greedy: Has too little memory while another training is paused in its process.
        wanders: Whether no training is like the one before.
    """

    steps: int = 81
    measured: tuple[int, ...] = (10, 20, 40, 81)
    log: list[tuple[str, int]] = field(default_factory=list)
    broken: int | None = None
    greedy: bool = False
    wanders: bool = False
    name: str = "parabola"
    batch_size: int | None = None
    device: Device = CPU

    def facts(self) -> Mapping[str, Any]:
        """Return what identifies the task."""
        data = {"data": self.name, "data_hash": "parabola"}
        return {"model": self.name, **data, "steps": self.steps, LOOP: "test"}

    def begin(self, assignment: Assignment) -> Descent:
        """Begin a trial."""
        self.log.append(("begin", assignment.trial))
        return Descent(self, assignment)


class Descent:
    """A trial on the parabola: a training as the seam wants it.

    Args:
        task: The task.
        assignment: What the trial is.
    """

    saved = False

    def __init__(self, task: Parabola, assignment: Assignment) -> None:
        self.task, self.assignment = task, assignment
        self.step, self.left = 0, list(task.measured)
        draw = torch.Generator().manual_seed(assignment.seed + task.wanders * len(task.log))
        self.model = nn.Linear(1, 1, bias=False)
        self.model.weight.data = torch.rand(1, 1, generator=draw)
        self.optimizer, self.schedule = assignment.build(self.model)

    def advance(self, interrupted: Callable[[], bool]) -> Measured | None:
        """Take steps until the next measurement."""
        if not self.left:
            raise missing_last(self.step, self.assignment.steps)
        while self.step < self.left[0]:
            if interrupted():
                return None
            self.step += 1
            if self.task.greedy and paused.count():
                raise MemoryError
            if self.step == self.task.broken:
                raise ValueError("it broke")
            self._loss().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
        self.left.pop(0)
        return Measured(self.step, Measurement(loss=float(self._loss().detach())))

    def _loss(self) -> torch.Tensor:
        return (self.model.weight - 3).square().sum()

    def state(self) -> Mapping[str, Any]:
        """Return nothing, as it is not saved."""
        return {}

    def pause(self) -> None:
        """Write that it pauses."""
        self.task.log.append(("pause", self.assignment.trial))

    def resume(self) -> None:
        """Write that it goes on."""
        self.task.log.append(("resume", self.assignment.trial))

    def close(self) -> str | None:
        """Write that it is closed."""
        self.task.log.append(("close", self.assignment.trial))
        return None


def happened(task: Parabola, trial: int) -> Iterable[str]:
    """Return what happened to a trial's trainings, in order."""
    return [what for what, whose in task.log if whose == trial]
