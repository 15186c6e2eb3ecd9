"""A problem the user brings whole: model, batches and loss.

Training batches that a callable gives are read as they are needed (``stream``). Others are read
when a run takes its first step, in order, at most as many as a run has steps; the seed shuffles
their order, each coming once an epoch. Validation batches are read to the end. Both are kept for
the next run of the same seed in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from autotune import registry
from autotune.data.order import indices
from autotune.data.seeds import seeded
from autotune.devices import CPU, Device
from autotune.errors import SpecError
from autotune.tasks.base import Measurement, Problem, Run, Shortest
from autotune.tasks.constant import of_problem
from autotune.tasks.function import Function
from autotune.tasks.handed import Handed
from autotune.tasks.kept import Kept, Lazy
from autotune.tasks.mistakes import telling
from autotune.tasks.precision import BF16, Precision
from autotune.tasks.rehearsal import rehearse
from autotune.tasks.resident import Resident
from autotune.tasks.rows import total, usual
from autotune.tasks.stream import Source, Stream, first, is_stream
from autotune.tasks.training import Training, Unread, size

MOST_VALIDATION = 10_000  # batches: more is taken for an endless iterable
# Nobody knows when the losses of a stranger's model tell settings apart: four rungs, 1 to 27.
SHORTEST = Shortest(steps=27)
LOOKED_AT = 2  # training batches that tell what a problem is; of a stream, one
_LONG = "bfloat16"  # torch's word for what --precision calls bf16
# What Problem(precision=...) may be, and the fact that says so.
PRECISIONS = {
    Precision.FLOAT32.value: Precision.FLOAT32.value,
    BF16: Precision.BFLOAT16_ALONE.value,
}


@dataclass(frozen=True)
class OwnLoss:
    """The user's loss and accuracy; every batch counts the same."""

    text: str
    problem: Problem
    kind: str = CPU.kind  # of device
    handed: Handed = field(default_factory=Handed, compare=False, repr=False)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """Return what the user's loss returns, checked to be one number."""
        with self._computing():
            value = self.handed.to(self.problem.loss, model, batch)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise SpecError(
                f"the loss of {self.text} must be a tensor of one number, got {_instead(value)}"
            )
        return value.reshape(())

    def _computing(self) -> AbstractContextManager[Any]:
        half = self.problem.precision == BF16
        return torch.autocast(self.kind, torch.bfloat16) if half else nullcontext()

    def measure(self, model: nn.Module, batch: Any) -> Unread:
        """Return loss, and accuracy where the user defines it."""
        accuracy, loss = self.problem.accuracy, _number(self.loss(model, batch))
        if accuracy is None:
            return Unread(loss=loss)
        with self._computing():
            return Unread(loss=loss, accuracy=_number(self.handed.to(accuracy, model, batch)))

    def weight(self, batch: Any) -> float:
        """Return one."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What the first look at a problem found."""

    train: Any  # its first batch
    validation: Any  # likewise
    batch_size: int | None  # None where it cannot be told
    precision: str
    device: str | None
    facts: Mapping[str, int | str]
    constant: Callable[[], Mapping[str, float]]  # what the best constant answer achieves


@dataclass(frozen=True, kw_only=True)
class OwnProblem:
    """The task of a function that returns a Problem."""

    name: str
    text: str  # file.py:function
    build: Callable[[int], Any]
    sha256: str  # of what the file does
    steps: int
    modules: Mapping[str, str] = field(default_factory=dict)  # facts of those beside the file
    shortest: Shortest = SHORTEST
    kept: Kept = field(default_factory=Kept, compare=False, repr=False)
    device: Device = CPU  # where it trains

    @property
    def batch_size(self) -> int | None:
        """Return the samples of a training batch; None where they cannot be told."""
        return self._look.batch_size

    def facts(self) -> Mapping[str, Any]:
        """Return what identifies the task: the data are whatever the file makes them."""
        return {
            "model": self.text,
            "data": self.text,
            "data_hash": self.sha256,
            **self.modules,
            **self._look.facts,
            "steps": self.steps,
            **_known(batch_size=self.batch_size),
            "precision": PRECISIONS[self._look.precision],
            **self.device.identity(),
            "metric": "validation loss",
            **self._look.constant(),
        }

    @property
    def wants(self) -> str | None:
        """Return the device that the problem asks for; None where any will do."""
        return self._look.device

    def on(self, device: Device) -> OwnProblem:
        """Return the task on a device."""
        made = replace(self, device=device)
        vars(made).update({"_look": self._look})  # which reads batches
        return made

    def start(self, seed: int) -> Run:
        """Build a run whose initialisation and batch order follow ``seed``."""
        problem = checked(self.text, self.build(seed))
        stream = self._stream(problem, seed)
        read = partial(_batches, self.text, problem, 0 if stream else self.steps, seed)
        both = Lazy(partial(self.kept.of, seed, read))
        return Training(
            model=self.device.place_model(problem.model) if self.device.waits else problem.model,
            seed=seed,
            objective=OwnLoss(self.text, problem, self.device.kind),
            batch=stream.batch if stream else lambda step: self._batch(both[0], seed, step),
            validation=Lazy(lambda: self._validation(both[1])),
            device=self.device,
            stream=stream,
        )

    def _stream(self, problem: Problem, seed: int) -> Stream | None:
        if not is_stream(problem.train):
            return None
        return Stream(Source(text=self.text, train=problem.train, seed=seed), self.device)

    def _batch(self, train: Sequence[Any], seed: int, step: int) -> Any:
        """Return the batch of a step, where it trains."""
        place = int(indices(seed, step, 1, len(train)))
        if not self.device.waits:
            return train[place]
        return self._resident.batch(seed, place, train.__getitem__)

    def _validation(self, batches: Sequence[Any]) -> Sequence[Any]:
        if not self.device.waits:
            return batches
        return [self.device.move(batch) for batch in batches]

    @cached_property
    def _resident(self) -> Resident:
        return Resident(self.device, ahead=False)

    def look(self) -> None:
        """Refuse a problem that cannot be trained; few of its training batches are read."""
        self._look  # noqa: B018  it is kept

    def rehearse(self) -> Measurement:
        """Compute loss and gradient of a batch and measure another, with a model thrown away."""
        problem, first = checked(self.text, self.build(0)), self._look
        with seeded("rehearsal", 0):
            return rehearse(
                self.text,
                problem.model,
                OwnLoss(self.text, problem),
                train=first.train,
                validation=first.validation,
            )

    @cached_property
    def _look(self) -> _Look:
        problem, identity = checked(self.text, self.build(0)), None
        most = 0 if is_stream(problem.train) else min(LOOKED_AT, self.steps)
        with telling(f"reading the batches of {self.text}"):
            train, validation = _batches(self.text, problem, most, 0)
            if is_stream(problem.train):
                batch, identity = first(Source(text=self.text, train=problem.train, seed=0))
                train = [batch]
        facts = _known(
            validation_size=total(validation), data_identity=problem.identity or identity
        )
        return _Look(
            train=train[0],
            validation=validation[0],
            batch_size=problem.batch_size or usual(train),
            precision=problem.precision,
            device=problem.device,
            facts={**size(problem.model), **facts},
            constant=cache(partial(of_problem, problem, validation)),  # not before it is asked for
        )


def own_problem(function: Function, build: Callable[[int], Any], *, steps: int) -> OwnProblem:
    """Return the task of a function that returns a Problem."""
    return OwnProblem(
        name=function.short,
        text=function.text,
        build=build,
        sha256=function.sha256,
        steps=steps,
        modules=function.facts,
    )


def checked(text: str, returned: Any) -> Problem:
    """Return a problem whose model can be trained, or say what is wrong."""
    if not isinstance(returned, Problem):
        raise SpecError(f"{text} returned a Problem once and {_kind(returned)} for another seed")
    if not isinstance(returned.model, nn.Module):
        raise SpecError(f"the model of {text} must be a torch module, got {_kind(returned.model)}")
    if not size(returned.model)["parameters"]:
        raise SpecError(f"the model of {text} has no parameter to train")
    _check_batch_size(text, returned.batch_size)
    if returned.precision not in PRECISIONS:
        known, given = " or ".join(PRECISIONS), returned.precision
        near = registry.near(str(given), PRECISIONS)
        hint = f"; write '{BF16}'" if given == _LONG else near
        raise SpecError(f"precision of {text} must be {known}, got {given!r}{hint}")
    if returned.identity is not None and not isinstance(returned.identity, str):
        raise SpecError(f"identity of {text} must be a text, got {_kind(returned.identity)}")
    return returned


def _check_batch_size(text: str, given: Any) -> None:
    whole = isinstance(given, int) and not isinstance(given, bool)
    if given is not None and not (whole and given >= 1):
        raise SpecError(f"batch_size of {text} must be a whole number of at least 1, got {given!r}")


def _known(**facts: int | str | None) -> dict[str, int | str]:
    return {name: value for name, value in facts.items() if value is not None}


def _batches(
    text: str, problem: Problem, steps: int, seed: int
) -> tuple[Sequence[Any], Sequence[Any]]:
    """Read batches to train and to measure on; what they draw by chance follows the seed.

    None are read to train on where there are no ``steps`` to read them for.
    """
    with seeded("batches", seed):
        train = _read(text, "train", problem.train, steps) if steps else ()
        validation = _read(text, "validation", problem.validation, MOST_VALIDATION + 1)
    if len(validation) > MOST_VALIDATION:
        raise SpecError(
            f"validation of {text} must end within {MOST_VALIDATION} batches; give a finite one"
        )
    return train, validation


def _read(text: str, part: str, batches: Any, most: int) -> Sequence[Any]:
    if not isinstance(batches, Iterable):
        raise SpecError(f"{part} of {text} must be an iterable of batches, got {_kind(batches)}")
    read = list(islice(batches, most))
    if not read:
        raise SpecError(
            f"{part} of {text} yields no batch; a generator read before is empty, make a new one "
            "at each call"
        )
    return read


def _number(value: Any) -> Tensor | float:
    """Return a number as it is now, or where a device is still to compute it."""
    waits = isinstance(value, Tensor) and value.device.type != CPU.kind
    return value if waits else float(value)


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def _instead(loss: Any) -> str:
    """Say what a loss is that is no tensor of one number, and what to return."""
    if isinstance(loss, Tensor):
        return f"shape {tuple(loss.shape)}; return its mean"
    if isinstance(getattr(loss, "loss", None), Tensor):
        return f"{_kind(loss)}; return its .loss"
    if isinstance(loss, list | tuple | Mapping):
        return f"{_kind(loss)}; return the loss alone"
    return _kind(loss)
