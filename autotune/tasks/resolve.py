"""From the words after ``--model`` to a task."""

from __future__ import annotations

from typing import cast

from autotune import registry
from autotune.errors import SpecError
from autotune.tasks import user
from autotune.tasks.base import Task
from autotune.tasks.function import MARK


def resolve(
    model: str,
    data: str | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
) -> Task:
    """Return the task of a registered model's name, or of the user's ``file.py:function``."""
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise SpecError(f"{name} must be at least 1, got {value}")
    if MARK in model:
        return user.task(model, data=data, steps=steps, batch_size=batch_size)
    factory = registry.load("autotune.tasks", model)
    return cast(Task, factory(data=data, steps=steps, batch_size=batch_size))
