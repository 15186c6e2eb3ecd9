"""Load the task of a job, and build its run and optimizer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any

import torch

from autotune.devices import CPU, Device
from autotune.errors import SpecError
from autotune.tasks.base import Run, Task, trains_itself
from autotune.tasks.function import edited
from autotune.tasks.resolve import resolve
from autotune.tasks.supervised import Supervised
from autotune.training import foreign
from autotune.training.captured import optimizer_for
from autotune.training.job import Job
from autotune.training.warm_up import warm_up


def task_of(job: Job) -> Task:
    """Return a job's task with data, libraries and a device's kernels loaded.

    The user's code may raise.
    """
    _unedited(job)
    foreign.unsaved(job.optimizer)  # loads what the first step of another package's needs
    task = _task(json.dumps(dict(job.task), sort_keys=True), json.dumps(dict(job.content)))
    _unedited(job)  # not while it was loaded either
    if not trains_itself(task):
        _warm(task, job)
    return task


_warmed: set[str] = set()  # tasks with rules whose kernels are loaded


def _warm(task: Task, job: Job) -> None:
    """Take steps with the job's rule on a device other than the CPU, once in this process."""
    device = getattr(task, "device", CPU)
    if device == CPU:
        return
    hyper = job.setting.hyper
    # Numbers are arguments of the kernels, words choose among them.
    words = {name: value for name, value in hyper.items() if isinstance(value, str | bool)}
    rule = [dict(job.task), dict(job.content), job.optimizer, words]
    key = json.dumps(rule, sort_keys=True)
    if key not in _warmed:
        with exactly(task):
            run, optimizer = build(task, job.optimizer, hyper, job.seed)
            with read_to_its_end(run):
                warm_up(run, optimizer, device)
        _warmed.add(key)


def _unedited(job: Job) -> None:
    changed = edited(str(job.task["model"]), job.content)
    if changed:
        raise SpecError(
            f"{' and '.join(changed)} on this machine is not what the search was begun with: "
            "it was edited, or is another version"
        )


@lru_cache(maxsize=2)
def _task(arguments: str, content: str) -> Task:
    # The content is part of what is remembered: an edited file is another task.
    task = resolve(**json.loads(arguments), look=False)
    if not trains_itself(task):
        task.start(0)
    return task


def forget() -> None:
    """Drop loaded tasks, because their files may change before another search."""
    _task.cache_clear()
    _warmed.clear()


def build(
    task: Task, optimizer: str, hyper: Mapping[str, Any], seed: int
) -> tuple[Run, torch.optim.Optimizer]:
    """Return a run at its first step, and its optimizer."""
    run = task.start(seed)
    return run, optimizer_for(run, optimizer, hyper, getattr(task, "device", CPU))


def exactly(task: Task) -> AbstractContextManager[None]:
    """Return what makes a task's precision on a device the one that its facts say."""
    device: Device = getattr(task, "device", CPU)
    return device.exactly(strict=isinstance(task, Supervised) and not task.origin)


@contextmanager
def read_to_its_end(run: Run) -> Iterator[None]:
    """Close what reads a run's batches when it is left, such as processes of a loader."""
    try:
        yield
    finally:
        if hasattr(run, "close"):
            run.close()
