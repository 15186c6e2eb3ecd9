"""What the engine asks of a task: a run that is a pure function of its seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeGuard

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from autotune.devices import CPU, Device

# By optimizer's name, the settings that authors published for a network: the arguments that differ
# from the optimizer's defaults, with ``origin`` ("authors-" and what it is of) and ``warmup``.
Presets = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Loss and accuracy on the whole validation set.

    Args:
        loss: Lower is better. NaN and infinity end a trial as diverged.
        accuracy: A fraction, 0 to 1; it is shown, and decides nothing. None: not measured.

    Example:
        >>> import autotune
        >>> autotune.Measurement(loss=0.31, accuracy=0.9)
        Measurement(loss=0.31, accuracy=0.9)
    """

    loss: float
    accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Shortest:
    """How small a run of a task may become where minutes are few, and still rank settings.

    Args:
        steps: Fewest steps of a full run.
        batch_size: Fewest samples of a batch; None: it stays what it is.
        image_size: Fewest pixels of an image's side, likewise.
    """

    steps: int
    batch_size: int | None = None
    image_size: int | None = None


class Run(Protocol):
    """A model under training: equal seeds give equal weights and equal batches."""

    model: nn.Module

    def loss(self, step: int) -> Tensor:
        """Return the training loss of batch ``step`` (from 0), with its graph."""

    def evaluate(self) -> Measurement:
        """Measure the model on validation data; leaves weights, buffers and modes as they were."""


class Task(Protocol):
    """Model, data, loss and schedule length.

    A task may have a method ``rehearse()``, which tries its parts before a search is stored and
    raises SpecError, and a method ``look()``, which does so for what is cheaper to try. It may have
    ``presets`` (`Presets`): settings tried after an optimizer's own first two; and an attribute
    ``shortest`` (`Shortest`): without it, its runs are not shortened to fit minutes. One that
    trains on other devices than the CPU has a method ``on(device)`` that returns it on a
    ``autotune.devices.Device``, and an attribute ``device``.
    """

    @property
    def name(self) -> str:
        """Return the name a search takes when none is given."""

    @property
    def steps(self) -> int:
        """Return the steps of a full run."""

    @property
    def batch_size(self) -> int | None:
        """Return the samples of a batch; None where they cannot be told."""

    def facts(self) -> Mapping[str, Any]:
        """Return what identifies the task: model, data, data hash, parameters, steps, precision.

        ``steps`` is the length of a full run. ``compare_from``, where given, says after how many
        steps losses begin to rank settings, and no trial is stopped before it.
        """

    def start(self, seed: int) -> Run:
        """Build a run whose initialisation and batch order follow ``seed``."""


class Measured(NamedTuple):
    """What a training that runs itself has measured, and after how many steps."""

    step: int
    measurement: Measurement


class BadMeasurement(Exception):
    """A training measured what no search can use; the message is a sentence for its user.

    Args:
        sentence: What is wrong.
        output: Last lines that a command has printed.
    """

    def __init__(self, sentence: str, output: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.output = tuple(output)


def missing_last(last: int, steps: int) -> BadMeasurement:
    """Return the error of a training that ended before it measured its last step.

    Args:
        last: The step of its last measurement; 0 if there is none.
        steps: Of a full run.
    """
    said = f"after its measurement at step {last}" if last else "without a measurement"
    return BadMeasurement(f"ended {said}; the last measurement must be at step {steps}")


class Build(Protocol):
    """Builds what a trial's setting says, as every other trial has it.

    Args:
        name: Name of the optimizer.
        hyper: Its keyword arguments; betas are close to one.
        warmup: Fraction of the schedule in which the learning rate rises.
    """

    name: str
    hyper: dict[str, Any]
    warmup: float

    def __call__(self, model: nn.Module) -> tuple[Optimizer, LRScheduler]:
        """Return optimizer and schedule; the schedule's ``step`` follows the optimizer's."""


def label(optimizer: str, trial: int) -> str:
    """Return the word for names of a trial's files, by the store's id of it."""
    return f"{optimizer}-{trial}"


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a training that runs itself is told.

    Args:
        trial: The store's id of the trial.
        label: A word for names of its files, the same whenever the trial goes on.
        build: Makes optimizer and schedule.
        seed: Equal seeds should give equal curves.
        steps: Of the whole run, at which the last measurement must be.
        start: The step after which it goes on, where its state is restored; else 0.
        evaluate: Steps at which a measurement is of most use: where trials pause and are compared.
        device: Where it should compute.
        folder: For its files, such as a log; None where nothing is kept.
    """

    trial: int
    label: str
    build: Build
    seed: int
    steps: int
    start: int = 0
    evaluate: tuple[int, ...] = ()
    device: Device = CPU
    folder: Path | None = None

    @property
    def optimizer(self) -> str:
        """Name of the optimizer."""
        return self.build.name

    @property
    def setting(self) -> dict[str, Any]:
        """The optimizer's keyword arguments, and ``warmup``."""
        return {**self.build.hyper, "warmup": self.build.warmup}


class Training(Protocol):
    """A training that runs itself while it runs: only it knows when it measures.

    Args:
        saved: Whether another process can go on with it at ``Assignment.start``, where all that
            went through its ``Assignment.build``, and ``state``, are as they were.
    """

    saved: bool

    def state(self) -> Mapping[str, Any]:
        """Return how its chance stands, as ``tasks.chance`` has it; asked of one that is saved."""

    def advance(self, interrupted: Callable[[], bool]) -> Measured | None:
        """Wait for the next measurement; None where ``interrupted`` came first.

        Raises what the user's code raises, and BadMeasurement where there is none any more.
        """

    def pause(self) -> None:
        """Nothing is asked for some time, perhaps for ever."""

    def resume(self) -> None:
        """It goes on where it was paused."""

    def close(self) -> str | None:
        """End it for good; return what went wrong, if anything did. May be called twice."""


class OwnLoop(Protocol):
    """A task that trains itself: a user's own loop, which tells what it measures.

    Its facts have ``loop``, a word for how it runs. It may have ``look``, ``rehearse`` and ``on``
    as a `Task` has. Nobody takes its steps or knows them before it has measured, so it is neither
    timed before a search nor shortened.
    """

    @property
    def name(self) -> str:
        """Return the name a search takes when none is given."""

    @property
    def steps(self) -> int:
        """Return the steps of a full run."""

    @property
    def batch_size(self) -> int | None:
        """Return the samples of a batch; None where they cannot be told."""

    def facts(self) -> Mapping[str, Any]:
        """Return what identifies the task."""

    def begin(self, assignment: Assignment) -> Training:
        """Begin a trial; its code first runs when it is asked to advance."""


LOOP = "loop"  # fact of a task that trains itself: how it runs


def trains_itself(task: object) -> TypeGuard[OwnLoop]:
    """Tell whether a task is a loop of the user's own."""
    return hasattr(task, "begin")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A model with its own data and loss: what a function given as a model may return.

    A batch is whatever ``loss`` takes. On a device other than the CPU it gets the model there, and
    batches whose tensors are moved there, in tuples, lists, dicts and dataclasses. The function is
    called anew for each trial, with the trial's seed if it asks for ``seed``; equal seeds should
    give equal weights.

    Args:
        model: The module to train, new at each call. ``train()`` is called before the first step;
            a part none of whose weights is trained, and a single layer that alone is in evaluation
            mode, stay in it.
        train: Batches to train on. At most as many as a run has steps are read, when its first step
            begins; the seed shuffles their order, each coming once an epoch. A worker keeps them
            for its next trial of the same seed: up to 512 MiB, and only where it can tell that the
            loss did not change them. Or a function of the seed that returns any iterable of them,
            such as a loader: one is then read a step, in the order that it has, and none is kept.
            One that ends is asked for again, with ``epoch=1`` and so on if the function takes that.
        validation: Batches to measure on, read to the end and kept likewise. Each weighs alike,
            however many samples it holds: give batches of equal size.
        loss: Returns the loss of a model on a batch as a tensor of one number; lower is better.
            Also called on validation batches, with the model in evaluation mode and without
            gradients. What it does to a batch is gone the next time.
        accuracy: Returns the fraction of a batch that is right, 0 to 1, not a percentage; it is
            shown, and decides nothing. None: not measured.
        identity: A text that other data do not share: trials on different data are not compared.
            None: of batches that a function gives, the ``_fingerprint`` that they or the data set
            of their loader have, else a hash of the first one's content; of others, the file's.
        device: Where it trains unless ``--device`` says otherwise, as that has it: ``"cpu"`` for a
            loss that could not be computed on a GPU. None: on a GPU if there is one.
        precision: ``"float32"``, or ``"bf16"``, as ``--precision`` has it: loss and accuracy are
            then computed in bfloat16 under autocast, while weights stay float32.
        batch_size: Samples of a training batch, which exports name beside lr. None: the length of
            the first dimension of its tensors, where they share one.

    Raises:
        SpecError: Where a search begins: no model with parameters, no batch, or a loss that is not
            one number.

    Example:
        >>> import torch, autotune
        >>> x = torch.linspace(-1, 1, 64).reshape(8, 8, 1)
        >>> def line(seed):
        ...     return autotune.Problem(
        ...         model=torch.nn.Linear(1, 1),
        ...         train=list(x[:6]),
        ...         validation=list(x[6:]),
        ...         loss=lambda model, x: (model(x) - 3 * x).square().mean(),
        ...     )
        >>> problem = line(seed=0)
        >>> problem.loss(problem.model, problem.train[0]).shape
        torch.Size([])
    """

    model: nn.Module
    train: Iterable[Any] | Callable[..., Iterable[Any]]
    validation: Iterable[Any]
    loss: Callable[[nn.Module, Any], Tensor]
    accuracy: Callable[[nn.Module, Any], float] | None = None
    batch_size: int | None = None
    identity: str | None = None
    device: str | None = None
    precision: str = "float32"
