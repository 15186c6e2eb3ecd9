"""The user's own model: ``file.py:function``.

The function is called with those of ``seed`` and ``classes`` that it accepts, and returns either a
module, trained on ``--data`` (RGB images of 32 by 32 to logits), or an ``autotune.Problem``. One
that yields is a loop of its own (``generator``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from autotune.data import sources
from autotune.data.base import Data
from autotune.data.digits_pair import Recipe
from autotune.errors import SpecError
from autotune.tasks.base import Problem, Task
from autotune.tasks.function import Function
from autotune.tasks.generator import FORM, own_generator, refuse_settings
from autotune.tasks.given import found
from autotune.tasks.mistakes import telling
from autotune.tasks.problem import SHORTEST, own_problem
from autotune.tasks.supervised import Supervised
from autotune.tasks.surroundings import outside
from autotune.tasks.training import CrossEntropy, size

STEPS = 243
BATCH_SIZE = 32
_DIGITS = Recipe(size=32)


def task(model: str, *, data: str | None, steps: int | None, batch_size: int | None) -> Task:
    """Return the task of a user's function, which is called once to see what it returns."""
    function = found(model)
    if function.yields:
        refuse_settings(model, data, batch_size)
        return cast(Task, own_generator(function, steps=steps or STEPS))
    _refuse_loop(function)
    function.check(("classes", "seed"))
    images = _images(data) if function.accepts("classes") else None
    build = Build(function, None if images is None else images.classes)
    returned = _first(build)
    if isinstance(returned, Problem):
        _refuse_settings(model, data, batch_size)
        return own_problem(function, build, steps=steps or STEPS)
    images = images or _images(data)
    _try(model, build.module(returned), images)
    return Supervised(
        name=function.short,
        origin={"model": model, "model_hash": function.sha256, **function.facts},
        build=lambda seed: build.module(build(seed)),
        data=images,
        steps=steps or STEPS,
        batch_size=batch_size or BATCH_SIZE,
        shortest=SHORTEST,
    )


def _images(data: str | None) -> Data:
    """Read images from where the command was given, whatever directory the function moved to."""
    with outside():
        return sources.images(data, digits=_DIGITS)


def _refuse_loop(function: Function) -> None:
    """Refuse a function that asks for an optimizer as a loop does, and yields nothing."""
    if function.requires("optimizer"):
        raise SpecError(
            f"{function.text} takes an optimizer, as a training loop does, but yields nothing; "
            f"{FORM} as it trains"
        )


@dataclass(frozen=True)
class Build:
    """Calls the user's function for a seed."""

    function: Function
    classes: int | None

    def __call__(self, seed: int) -> Any:
        """Return what the user's function returns."""
        return self.function(seed=seed, classes=self.classes)

    def module(self, returned: Any) -> nn.Module:
        """Return what was returned if it is a module that can be trained."""
        if not isinstance(returned, nn.Module):
            kind = "None" if returned is None else type(returned).__name__
            raise SpecError(
                f"{self.function.text} must return a torch module or an autotune.Problem, "
                f"got {kind}"
            )
        if not size(returned)["parameters"]:
            raise SpecError(f"the model of {self.function.text} has no parameter to train")
        return returned


def _first(build: Build) -> Any:
    """Call the function before any trial does, so that its mistake is the user's to read."""
    with telling(build.function.text):
        return build(0)


def _refuse_settings(model: str, data: str | None, batch_size: int | None) -> None:
    for name, value in (("data", data), ("batch_size", batch_size)):
        if value is not None:
            raise SpecError(
                f"{model} returns a Problem, which brings its own batches; drop {name}={value!r}"
            )


def _try(text: str, model: nn.Module, data: Data) -> None:
    """Pass two samples through the model and look at what comes out."""
    inputs, _ = data.validation()[0]
    shape = tuple(inputs[:2].shape)
    with torch.no_grad(), telling(f"the model of {text}", f" fails on images of shape {shape}:"):
        logits = CrossEntropy().logits(model.eval(), inputs[:2])
    if logits.shape != (2, data.classes):
        raise SpecError(
            f"the model of {text} must return {data.classes} logits an image for "
            f"data '{data.name}', got shape {tuple(logits.shape)} for 2 images; "
            "its function may take the keyword argument classes"
        )
