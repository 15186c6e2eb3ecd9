"""What is measured of a run's gradients while a job trains it, where its job asks for that."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from torch.optim import Optimizer

from autotune.devices import CPU, Device
from autotune.studies.records import Gradient
from autotune.tasks.base import Run
from autotune.training.job import Job
from autotune.training.noise import NoiseMeter
from autotune.training.norms import Norms


class Meter(Protocol):
    """Follows the steps of an optimizer."""

    def read(self) -> tuple[Gradient, ...]:
        """Return what was measured since the last call."""


class Measures:
    """The meters of one job.

    Args:
        job: Says what is measured.
        run: Its run.
        optimizer: Of the run; nothing is attached to it where nothing is asked for.
        start: Steps that were taken before.
        batch: Samples of a batch; None where they are not known.
        device: Where the run computes.

    Attributes:
        missing: Why something that was asked for is not measured, or None.
    """

    def __init__(
        self,
        job: Job,
        run: Run,
        optimizer: Optimizer,
        start: int = 0,
        batch: int | None = None,
        device: Device = CPU,
    ) -> None:
        self.missing: str | None = None
        self._meters: list[Meter] = []
        if job.norms:
            self._meters.append(Norms(optimizer, start, device))
        elsewhere = getattr(run, "elsewhere", None)
        if job.noise and (elsewhere is None or batch is None):
            what = "gives no other batch" if elsewhere is None else "does not tell its batch size"
            self.missing = f"its gradient noise was not measured: the task {what}"
        elif job.noise and elsewhere is not None and batch is not None:
            self._meters.append(NoiseMeter(optimizer, elsewhere, batch, job.noise, start, device))

    def read(self) -> tuple[Gradient, ...]:
        """Return what was measured since the last call, a value a step."""
        found: dict[int, Gradient] = {}
        for meter in self._meters:
            for one in meter.read():
                known = found.get(one.step)
                found[one.step] = one if known is None else _both(known, one)
        return tuple(found[step] for step in sorted(found))


def _both(norms: Gradient, noise: Gradient) -> Gradient:
    return replace(norms, variance=noise.variance, square=noise.square)
