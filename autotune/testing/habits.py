"""What users do to a search, for tests: a file of theirs, jobs of it, and a search as a command."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotune.engines.base import Engine
from autotune.testing.trials import nested
from autotune.training.job import Job, Outcome, Report

ENDLESS = 1_000_000
HEAD = """
import os, signal, sys, time
import torch
from autotune import Problem


def mean_square(model, batch):
    return torch.nn.functional.mse_loss(model(batch[0]), batch[1])


def problem(seed, loss=mean_square, train=None, validation=None, accuracy=None):
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 4, generator=draw)
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    torch.manual_seed(seed)
    return Problem(
        model=torch.nn.Linear(4, 1),
        train=train or list(zip(inputs[:64].split(8), targets[:64].split(8))),
        validation=validation or [(inputs[64:], targets[64:])],
        loss=loss,
        accuracy=accuracy,
    )


"""


def job(path: Path | str, function: str = "mine", **changes: Any) -> Job:
    """Return a job of nine steps of a function in a user's file."""
    task = {"model": f"{path}:{function}", "data": None, "steps": ENDLESS, "batch_size": None}
    fields = {
        "trial": 1, "attempt": 1, "task": task, "optimizer": "adamw", "hyper": {}, "warmup": 0.1,
        "seed": 3, "start": 0, "stop": 9, "target": ENDLESS, "evaluate": (9, 1000), **changes,
    }  # fmt: skip
    return Job(**nested(**fields))


def ended(engine: Engine, *jobs: Job) -> list[Report]:
    """Run jobs one after another; return the last report of each."""
    last = []
    for each in jobs:
        engine.submit(each)
        last.append(over(engine))
    return last


def over(engine: Engine, *outcomes: Outcome) -> Report:
    """Return the next report that ends a job, or the next one with one of these outcomes."""
    wanted = set(outcomes) or set(Outcome) - {Outcome.PROGRESS}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for report in engine.reports(0.2):
            if report.outcome in wanted:
                return report
    raise AssertionError(f"nothing ended with one of {wanted}")


def eventually(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen")
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended but is not yet reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def search(path: Path, function: str = "mine", *more: str) -> tuple[str, ...]:
    """Return the words of a small search."""
    return (
        "search", "--model", f"{path}:{function}", "--optimizer", "adamw", "--trials", "2",
        "--steps", "9", "--workers", "1", "--progress", "plain", *more,
    )  # fmt: skip
