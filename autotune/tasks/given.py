"""A function handed to ``autotune.tune``: used as it is, or sent to workers by its file's name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from torch import nn

from autotune.errors import SpecError
from autotune.tasks.fingerprint import fingerprint
from autotune.tasks.function import PREFIX, Function

HERE = ("inline", "batched")  # engines that run trials in the process that calls them


@dataclass(frozen=True)
class Given(Function):
    """A function of this process by a text that only this process understands."""

    function: Callable[..., Any]

    @property
    def short(self) -> str:
        """Return the function's name."""
        return self.name

    @cached_property
    def sha256(self) -> str:
        """Return the hash of what the function does."""
        return fingerprint(self.function)

    @cached_property
    def modules(self) -> Mapping[str, str]:
        """Return none: what the function uses of its own module is in its hash."""
        return {}

    @cached_property
    def _found(self) -> Callable[..., Any]:
        return self.function

    def _move(self) -> None:
        """Do nothing: its module was imported by the caller."""


_offered: ContextVar[Given | None] = ContextVar("offered", default=None)


@contextmanager
def offered(function: Callable[..., Any], engine: str) -> Iterator[str]:
    """Yield the text under which an engine's jobs find a function; raises SpecError."""
    if isinstance(function, nn.Module):
        raise SpecError(
            f"model must be a function that returns a new model for each trial, got a "
            f"{type(function).__name__} that is one; write: def make(): return ..."
        )
    if engine not in HERE:
        yield _sent(function, engine)
        return
    given = Given(PREFIX + name_of(function), function)
    before = _offered.set(given)
    try:
        yield given.text
    finally:
        _offered.reset(before)


def found(text: str) -> Function:
    """Return the function that a text names, in a file or given to this process."""
    if not text.startswith(PREFIX):
        return Function(text)
    given = _offered.get()
    if given is None or given.text != text:
        raise SpecError(
            f"{text} is a function of the process that called autotune.tune: only the same call "
            "goes on with its search"
        )
    return given


def name_of(function: Any) -> str:
    """Return what a function is called, which is what its search is called unless named."""
    if isinstance(function, partial):
        return name_of(function.func)
    name = str(getattr(function, "__name__", type(function).__name__))
    return name.strip("<>")


def _sent(function: Any, engine: str) -> str:
    """Return ``file.py:function`` for workers to load; raises SpecError."""
    obstacle = _obstacle(function)
    if obstacle:
        raise SpecError(
            f"{name_of(function)} cannot be sent to the workers of engine '{engine}', as "
            f"{obstacle}; put it at the top of a file of its own, or use engine='inline'"
        )
    return f"{inspect.getsourcefile(function)}:{function.__name__}"


def _obstacle(function: Any) -> str | None:
    if not inspect.isfunction(function) and not inspect.isclass(function):
        return f"it is a {type(function).__name__}, which has no name of its own"
    if function.__name__ == "<lambda>":
        return "a lambda has no name"
    if function.__qualname__ != function.__name__:
        return "it is defined within another function or class"
    if function.__module__ == "__main__":
        return "it is defined in __main__, the script or notebook that runs"
    module = sys.modules.get(function.__module__)
    if getattr(module, function.__name__, None) is not function:
        return f"its module {function.__module__} has another under its name"
    file = getattr(module, "__file__", None)
    return None if file and file.endswith(".py") else "it is defined in no file"
