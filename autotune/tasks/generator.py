"""A user's own loop as a generator: ``train(optimizer, seed, steps)`` that yields what it measures.

A pause is that nobody asks for the next value, a stop is ``close()``. What it takes of its process
is its own (``lane``), so several take turns in one process as if each were alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from numbers import Real
from operator import index
from typing import Any

from torch import Tensor

from autotune.devices import CPU, Device
from autotune.errors import SpecError, ends_process
from autotune.tasks.base import (
    LOOP,
    Assignment,
    BadMeasurement,
    Measured,
    Measurement,
    missing_last,
)
from autotune.tasks.function import Function
from autotune.tasks.lane import Lane
from autotune.tasks.mistakes import described

TUNED = ("optimizer", "setting")  # the arguments that say a trial's setting
OFFERED = ("optimizer", "seed", "steps", "start", "device", "setting", "evaluate")
RESUMES = "start"  # the argument that says that a loop goes on where its saved state was
GENERATOR = "generator"
FORM = "yield step, loss, or yield step, autotune.Measurement(loss=..., accuracy=...)"
_IGNORED = "generator ignored GeneratorExit"  # what Python says of one that caught it


@dataclass(frozen=True, kw_only=True)
class OwnGenerator:
    """The task of a generator function."""

    function: Function
    steps: int
    name: str
    batch_size: int | None = None
    device: Device = CPU
    modules: Mapping[str, str] = field(default_factory=dict)  # facts of those beside the file

    def facts(self) -> Mapping[str, Any]:
        """Return what identifies the task: the data are whatever the file makes them."""
        text = self.function.text
        return {
            "model": text,
            "data": text,
            "data_hash": self.function.sha256,
            **self.modules,
            "steps": self.steps,
            **self.device.identity(),
            "metric": "validation loss",
            LOOP: GENERATOR,
        }

    def on(self, device: Device) -> OwnGenerator:
        """Return the task on a device, which the loop is told of as ``device``."""
        return replace(self, device=device)

    def look(self) -> None:
        """Refuse a loop that no setting reaches."""
        if not any(map(self.function.accepts, TUNED)):
            raise SpecError(
                f"{self.function.text} takes neither optimizer nor setting, so all its trials "
                "would be alike; take optimizer, and train with optimizer(model)"
            )

    def begin(self, assignment: Assignment) -> Going:
        """Begin a trial; the user's code runs when it is first asked to advance."""
        return Going(self.function, assignment)


def own_generator(function: Function, *, steps: int) -> OwnGenerator:
    """Return the task of a generator function; raises SpecError if it asks for what is not there.

    Args:
        function: The function.
        steps: Of a full run.
    """
    function.check(OFFERED)
    return OwnGenerator(function=function, steps=steps, name=function.short, modules=function.facts)


class Going:
    """A generator under way: a training as the engines follow it.

    Args:
        function: What makes it.
        assignment: What it is told.
    """

    def __init__(self, function: Function, assignment: Assignment) -> None:
        self.saved = function.accepts(RESUMES)
        self._function, self._assignment = function, assignment
        self._lane = Lane("training", assignment.seed, device=assignment.device)
        self._last = assignment.start  # the step of its last measurement
        self._generator: Generator[Any, None, Any] | None = None
        self._over = False

    def advance(self, interrupted: Callable[[], bool]) -> Measured | None:
        """Ask for the next value; None where it is already asked to stop."""
        if interrupted():
            return None
        try:
            with self._lane.entered():
                value = next(self._begun())
        except StopIteration:
            self._over = True
            raise missing_last(self._last, self._assignment.steps) from None
        measured = measured_of(value, self._function.name)
        self._last = measured.step
        return measured

    def pause(self) -> None:
        """Do nothing: it is not asked."""

    def resume(self) -> None:
        """Do nothing: it is asked again."""

    def close(self) -> str | None:
        """Close the generator, so that its ``finally`` runs; return what went wrong in it."""
        generator, self._generator, self._over = self._generator, None, True
        if generator is None:
            return None
        said = None
        with self._lane.entered():
            try:
                generator.close()
            except BaseException as error:
                if ends_process(error):
                    raise
                said = self._said(error)
            with _silent():
                del generator
        return said

    def state(self) -> dict[str, Any]:
        """Return how its chance stood when it was left."""
        return self._lane.chance

    def _begun(self) -> Generator[Any, None, Any]:
        if self._over:
            raise BadMeasurement(f"{self._function.name} was asked to go on after its end")
        if self._generator is None:
            given = self._assignment
            self._generator = self._function.begun(
                optimizer=given.build,
                seed=given.seed,
                steps=given.steps,
                start=given.start,
                device=given.device.place,
                setting=given.setting,
                evaluate=given.evaluate,
            )
        return self._generator

    def _said(self, error: BaseException) -> str:
        name = self._function.name
        if isinstance(error, RuntimeError) and str(error) == _IGNORED:
            return (
                f"{name} went on when it was closed: it catches GeneratorExit; let that pass, "
                "as 'except Exception' does"
            )
        return f"{name} raised {described(error)} when it was closed"


@contextmanager
def _silent() -> Any:
    """Let a generator go that cannot be closed, which Python would tell of."""
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = before


def measured_of(value: Any, name: str) -> Measured:
    """Return what a loop yielded as a measurement.

    Args:
        value: ``(step, loss)`` or ``(step, Measurement)``; a tensor of one number counts as one.
        name: Of the function, for messages.

    Raises:
        BadMeasurement: It is neither.

    Example:
        >>> measured_of((3, 0.5), "train")
        Measured(step=3, measurement=Measurement(loss=0.5, accuracy=None))
    """
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise BadMeasurement(f"{name} yielded {_shown(value)}; {FORM}")
    step, what = value
    given = what if isinstance(what, Measurement) else Measurement(loss=what)
    accuracy = None if given.accuracy is None else _number(given.accuracy, "an accuracy", name)
    loss = _number(given.loss, "a loss", name)
    return Measured(_step(step, name), Measurement(loss=loss, accuracy=accuracy))


def _step(step: Any, name: str) -> int:
    try:
        if isinstance(step, bool):
            raise TypeError
        return index(step)
    except TypeError:
        raise BadMeasurement(
            f"{name} yielded {_shown(step)} as a step; a step is a whole number; {FORM}"
        ) from None


def _number(value: Any, what: str, name: str) -> float:
    single = isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex()
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not single and not real:
        raise BadMeasurement(
            f"{name} yielded {_shown(value)} as {what}; it is a number or a tensor of one number"
        )
    return float(value.detach() if isinstance(value, Tensor) else value)


def _shown(value: Any) -> str:
    """Return a value in a few words."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"


def refuse_settings(text: str, data: str | None, batch_size: int | None) -> None:
    """Refuse what a loop of the user's own does not take."""
    for name, value in (("data", data), ("batch_size", batch_size)):
        if value is not None:
            raise SpecError(
                f"{text} trains with its own batches, as it yields; drop {name}={value!r}"
            )
