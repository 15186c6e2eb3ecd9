"""From the words after ``--model`` to a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from inspect import signature
from typing import Any, cast

from autotune import devices, registry
from autotune.data.base import Data
from autotune.devices import CPU, Device
from autotune.errors import SpecError
from autotune.studies.names import COMMAND
from autotune.tasks import command, user
from autotune.tasks.base import Task
from autotune.tasks.function import PREFIX
from autotune.tasks.precision import AUTO, Precision
from autotune.tasks.script import is_own
from autotune.tasks.supervised import Supervised


def resolve(
    model: str,
    data: str | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    device: str = "cpu",
    precision: str | None = None,
    *,
    look: bool = True,
    **own: Any,
) -> Task:
    """Return the task of a registered model's name, of the user's own function or of a command.

    ``own``: what a spec says of a command, or of the size of images, under the names that it has
    there. ``precision``: the fact of a task that computes otherwise than it would by itself.
    ``look``: read some of its data to refuse what cannot be trained; a job's was looked at.
    """
    place = devices.resolve(device)
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise SpecError(f"{name} must be at least 1, got {value}")
    task = _made(model, data=data, steps=steps, batch_size=batch_size, **own)
    # A default that a small folder cannot fill goes over it again within a batch.
    if batch_size is not None and isinstance(task, Supervised):
        _check_batch(task.data, batch_size)
    if look and hasattr(task, "look"):
        task.look()
    task = placed(task, place)
    if precision is not None and isinstance(task, Supervised):
        task = replace(task, precision=Precision(precision))
    return task


def placed(task: Task, device: Device) -> Task:
    """Return a task that trains on a device; raises SpecError where it trains on the CPU alone."""
    if device == CPU:
        return task
    if not movable(task):
        raise SpecError(
            f"model '{task.name}' trains on the CPU alone, as its task has no method 'on'; "
            f"got device '{device}', use device cpu"
        )
    return cast(Task, task.on(device))  # type: ignore[attr-defined]


def chosen(task: Task, device: str) -> Task:
    """Return a task on the device of a name; ``auto`` leaves it on the CPU if it has to."""
    if device == devices.AUTO and not movable(task):
        return task
    return placed(task, devices.resolve(device))


def in_precision(task: Task, word: str) -> Task:
    """Return a task in the precision that ``--precision`` names; ``auto`` leaves it as it is.

    Raises:
        SpecError: It says itself what it computes in, or its device does not compute in it.
    """
    if word == AUTO:
        return task
    if isinstance(task, Supervised):
        return task.computed(word)
    own = "Problem(precision='bf16')" if hasattr(task, "start") else "its own code"
    raise SpecError(
        f"precision is for models that are trained by this package's losses, '{task.name}' brings "
        f"its own, whose precision is said by {own}; got '{word}', leave it out"
    )


def movable(task: Task) -> bool:
    """Tell whether a task trains on other devices than the CPU."""
    return hasattr(task, "on")


def _check_batch(data: Data, batch_size: int) -> None:
    """Refuse a batch of more samples than an epoch has."""
    if batch_size > data.samples:
        raise SpecError(
            f"batch_size must be at most {data.samples}, the training samples of data "
            f"'{data.name}', got {batch_size}"
        )


def _made(model: str, **given: Any) -> Task:
    make = _maker(model)
    if "image_size" in given and "image_size" not in signature(make).parameters:
        raise SpecError(
            f"image_size is for models whose images may have another size, got model '{model}'; "
            "leave it out (timm: and hf: say it in the model: timm:NAME?img_size=64)"
        )
    return cast(Task, make(**given))


def _maker(model: str) -> Callable[..., Any]:
    if model == COMMAND:
        return command.task
    if model.startswith(PREFIX) or is_own(model):
        return partial(user.task, model)
    return cast(Callable[..., Any], registry.load("autotune.tasks", model))
