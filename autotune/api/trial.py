"""A trial that a caller trains: its setting, the steps to train, and where losses are reported."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from autotune.api.ranks import Ranks, mean
from autotune.errors import SpecError, Unavailable
from autotune.search.taken import Source, Taken
from autotune.training.job import Outcome

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LambdaLR


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Where a trial's answers come from.

    Args:
        ranks: The ranks that train it together.
        tuner: Whose trial it is; it lives as long as its trials.
        source: The search; None on all ranks but the first.
        taken: The trial in it, likewise.
    """

    ranks: Ranks
    tuner: object
    source: Source | None
    taken: Taken | None

    def agree(self, call: Callable[[Source, Taken], Any]) -> Any:
        """Return to all ranks what the call returns on the first."""

        def first() -> Any:
            if self.source is None or self.taken is None:
                raise ValueError("only the first rank has the search")
            return call(self.source, self.taken)

        return self.ranks.agree(first)

    def leave(self) -> None:
        """Give the trial back; no other rank has to take part, as one of them may be gone."""
        if self.source is not None and self.taken is not None:
            self.source.leave(self.taken)

    def end(self) -> None:
        """End the trial with what was reported, if it was not told already."""
        self.agree(lambda source, taken: None if taken.told else source.end(taken))


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Trial:
    """One run of a setting, or a part of it, for a caller's own loop to train.

    Train from step ``start`` to step ``stop`` and report the validation loss at each step of
    ``evaluate``. In a ``with`` block, an exception fails the trial and the search goes on: out of
    memory counts as diverged, as a loss that is not finite does. Ctrl-C, ``SystemExit`` and
    ``Unavailable`` (of the database or the service) pass, and the trial is taken again.

    Under an initialised ``torch.distributed`` group every method that reports, saves or ends the
    trial has to be called by all ranks, and an exception passes a ``with`` block: no rank could
    tell the others of it.

    Args:
        optimizer: Name of its optimizer.
        hyper: Keyword arguments of the optimizer; betas are close to one.
        warmup: Fraction of the schedule in which the learning rate rises.
        seed: Seeds weights and batches: trials are compared on equal seeds.
        start: Steps that ``state`` has been trained already; 0 without one.
        stop: Train until this step now; the trial may go on later.
        steps: Steps of the whole schedule.
        evaluate: The steps, counted from 1, after which the loss has to be reported.
        number: Of the trial, among those of its optimizer.
        state: What ``save`` was given, on the CPU; None where the trial begins at step 0.

    Example:
        >>> import tempfile, torch, autotune
        >>> folder = tempfile.TemporaryDirectory()
        >>> tuner = autotune.Tuner(["adamw"], steps=9, trials=2, name="line",
        ...                        storage=f"{folder.name}/autotune.db", progress="off")
        >>> x = torch.linspace(-1, 1, 8).reshape(8, 1)
        >>> for trial in tuner:
        ...     _ = torch.manual_seed(trial.seed)
        ...     model = torch.nn.Linear(1, 1)
        ...     optimizer = trial.build(model)
        ...     schedule = trial.schedule(optimizer)
        ...     for step in range(trial.start + 1, trial.stop + 1):
        ...         loss = (model(x) - 3 * x).square().mean()
        ...         loss.backward()
        ...         optimizer.step()
        ...         schedule.step()
        ...         optimizer.zero_grad()
        ...         if step in trial.evaluate and not trial.report(step, loss):
        ...             break
        >>> tuner.result.complete
        True
        >>> folder.cleanup()
    """

    optimizer: str
    hyper: Mapping[str, Any]
    warmup: float
    seed: int
    start: int
    stop: int
    steps: int
    evaluate: tuple[int, ...]
    number: int
    state: dict[str, Any] | None
    _answers: Answers

    def build(self, model: nn.Module) -> Optimizer:
        """Return the trial's optimizer for a model; parameters with ndim <= 1 are not decayed.

        Schedule-Free's has its average measured: call its ``eval()`` before and its ``train()``
        after. Calls of the model in evaluation mode under ``torch.no_grad()`` do so by themselves.

        One whose ``second_order`` is True differentiates gradients once more: compute them by
        ``optimizer.backward(loss)`` instead of ``loss.backward()``.

        Raises:
            TypeError: ``model`` is not a module.
        """
        from autotune.training.building import optimizer_of

        return optimizer_of(model, self.optimizer, self.hyper)

    def schedule(self, optimizer: Optimizer) -> LambdaLR:
        """Return the schedule over all ``steps``, at ``start``: linear warm-up, then cosine to 0.

        For Schedule-Free the rate stays at its peak instead. Call its ``step`` after each
        ``optimizer.step()``. A state of the optimizer may be loaded before or after.
        """
        from autotune.training.lr_schedule import schedule

        return schedule(optimizer, self.steps, self.warmup, self.start)

    def report(self, step: int, loss: Any, accuracy: Any = None) -> bool:
        """Report the validation loss after ``step`` steps; return whether to train on.

        False means to leave the loop now: step ``stop`` is reached, the loss is not finite, the
        trial is over at a rung (of a loop that cannot pause), the minutes are over, the search was
        told to pause or stop, or another process took the trial over
        because this one was not heard of (a notice says so).

        Args:
            step: Steps taken, counted from 1; more than reported before and at most ``stop``.
            loss: A number or a tensor of one; of several ranks, the mean of those that are not
                None counts.
            accuracy: A fraction, likewise; it is shown and decides nothing.

        Raises:
            SpecError: A step of ``evaluate`` was left out, or an argument cannot be used.
        """
        ranks = self._answers.ranks
        silent = loss is None and ranks.count > 1
        losses = ranks.collect(lambda: None if silent else number("loss", loss))
        right = ranks.collect(lambda: None if accuracy is None else fraction(accuracy))

        def measured(source: Source, taken: Taken) -> bool:
            given = [one for one in losses if one is not None]
            if not given:
                raise SpecError("loss must be a number on one rank at least, got None on all")
            fractions = [one for one in right if one is not None]
            accurate = mean(fractions) if fractions else None
            return source.measured(taken, whole("step", step), mean(given), accurate)

        return bool(self._answers.agree(measured))

    def save(self, state: Mapping[str, Any], step: int | None = None) -> None:
        """Save what the trial needs to go on after a pause; its next ``start`` is then ``step``.

        Call it before the body of the loop ends, after ``report`` of the same step. A trial that is
        not saved begins at step 0 again, with ``state`` None.

        Args:
            state: Tensors, numbers, texts and None, in dicts, lists and tuples: ``state_dict()`` of
                the model and the optimizer, states of generators. Of ranks, the first one's.
            step: Steps taken; None: the last one reported.

        Raises:
            SpecError: The state holds something else.
        """
        self._answers.agree(lambda source, taken: source.save(taken, state, step))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None:
            self._answers.end()
        elif not isinstance(error, Exception) or isinstance(error, Unavailable):
            self._answers.leave()
        elif self._answers.source is not None and self._answers.ranks.count == 1:
            return self._failed(error)
        return False

    def _failed(self, error: Exception) -> bool:
        """End the trial that raised; return whether this process can train another."""
        from autotune.training.verdict import verdict  # torch, which a client may do without

        outcome, reason = verdict(error, self._measured())
        if outcome is Outcome.LOST:  # its GPU reported an error that spoils the process
            self._answers.leave()
            return False
        self._answers.agree(lambda source, taken: source.fail(taken, reason, outcome))
        return True

    def _measured(self) -> int:
        return self._answers.taken.step if self._answers.taken else self.start

    def __repr__(self) -> str:
        hyper = ", ".join(f"{name}={value!r}" for name, value in self.hyper.items())
        return (
            f"Trial({self.optimizer} {self.number}: steps {self.start} to {self.stop} of "
            f"{self.steps}, seed {self.seed}, {hyper}, warmup={self.warmup!r})"
        )


def number(what: str, value: Any) -> float:
    """Return a number, or a tensor or array of one, as a float; raises SpecError."""
    plain = value
    with suppress(RuntimeError, ValueError):  # of a tensor or array of several
        plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise SpecError(f"{what} must be a number or a tensor of one, got {_shown(value)}")
    return float(plain)


def fraction(value: Any) -> float:
    """Return an accuracy; raises SpecError for what is none."""
    found = number("accuracy", value)
    if not math.isfinite(found):
        raise SpecError(f"accuracy must be finite, got {found}")
    return found


def whole(what: str, value: Any) -> int:
    """Return a whole number; raises SpecError for anything else."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise SpecError(f"{what} must be a whole number, got {_shown(value)}")


def by_step(losses: Mapping[int, Any] | None) -> dict[int, float]:
    """Return losses by step, ascending; raises SpecError."""
    if losses is None:
        return {}
    if not isinstance(losses, Mapping):
        raise SpecError(
            f"losses must map steps to losses, as {{9: 0.5, 27: 0.25}}, got {type(losses).__name__}"
        )
    found = {whole("step", step): number(f"loss of step {step}", losses[step]) for step in losses}
    return dict(sorted(found.items()))


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:60]}..."
