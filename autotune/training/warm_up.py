"""Take a few steps that count for no trial, so that none pays for what a device does once."""

from __future__ import annotations

from contextlib import suppress

import torch

from autotune.devices import Device
from autotune.tasks.base import Run
from autotune.training.loop import train
from autotune.training.steps import Diverged, Segment

STEPS = 2  # the first compiles kernels and chooses algorithms, the second runs as all others do


def warm_up(run: Run, optimizer: torch.optim.Optimizer, device: Device) -> None:
    """Train a run that is thrown away.

    A GPU's context, the plans of its libraries and compiled kernels take seconds. They are a
    process's, so the first trial alone would have them in its seconds.

    Args:
        run: A run at its first step.
        optimizer: Of the run's model, by the rule that trials will use.
        device: Where the run computes.
    """
    segment = Segment(start=0, stop=STEPS, target=STEPS, warmup=0.0, evaluate=(), every=STEPS)
    with suppress(Diverged):  # a setting may, in its own trial too
        for _ in train(run, optimizer, segment, device=device):
            pass
    device.synchronize()
