"""From the words after ``--model`` to a task."""

from __future__ import annotations

from typing import Any, cast

from autotune import registry
from autotune.data.base import Data
from autotune.errors import SpecError
from autotune.tasks import user
from autotune.tasks.base import Task
from autotune.tasks.function import PREFIX
from autotune.tasks.script import is_own
from autotune.tasks.supervised import Supervised


def resolve(
    model: str,
    data: str | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    *,
    look: bool = True,
) -> Task:
    """Return the task of a registered model's name, or of the user's own function.

    ``look``: read some of its data to refuse what cannot be trained; a job's was looked at.
    """
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise SpecError(f"{name} must be at least 1, got {value}")
    task = _made(model, data=data, steps=steps, batch_size=batch_size)
    # A default that a small folder cannot fill goes over it again within a batch.
    if batch_size is not None and isinstance(task, Supervised):
        _check_batch(task.data, batch_size)
    if look and hasattr(task, "look"):
        task.look()
    return task


def _check_batch(data: Data, batch_size: int) -> None:
    """Refuse a batch of more samples than an epoch has."""
    if batch_size > data.samples:
        raise SpecError(
            f"batch_size must be at most {data.samples}, the training samples of data "
            f"'{data.name}', got {batch_size}"
        )


def _made(model: str, **given: Any) -> Task:
    if model.startswith(PREFIX) or is_own(model):
        return user.task(model, **given)
    return cast(Task, registry.load("autotune.tasks", model)(**given))
