"""What one constant answer achieves: a model that learned anything does better."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autotune.data.base import Batch
from autotune.data.seeds import seeded
from autotune.errors import ends_process
from autotune.optimizers.eager import eager
from autotune.tasks.base import Problem
from autotune.tasks.modes import evaluating

LOSS, ACCURACY = "constant_loss", "constant_accuracy"  # names among a task's facts
MOST = 512  # validation batches: with more, finding the constant costs too much
PATIENCE = 5.0  # seconds for it
SETTLED = 1e-3  # largest slope of the loss at its lowest, as a part of the loss


def of_labels(batches: Sequence[Batch]) -> dict[str, float]:
    """Return cross-entropy and accuracy of the label frequencies as the answer to every sample."""
    counts = torch.cat([labels.flatten() for _, labels in batches]).bincount().double()
    shares = counts[counts > 0] / counts.sum()
    return {LOSS: -float((shares * shares.log()).sum()), ACCURACY: float(shares.max())}


def of_problem(problem: Problem, validation: Sequence[Any]) -> dict[str, float]:
    """Return loss and accuracy of the best constant output of a problem's model.

    The user's loss is called on validation batches with a stand-in that answers every input alike.
    Where it asks more of the model than a tensor, has no lowest value, or takes too long, nothing
    is returned: it cannot be told.
    """
    if len(validation) > MOST:
        return {}
    # What a stranger's loss raises for a stand-in, SystemExit too, says nothing about the problem.
    try:
        with seeded("constant"), evaluating(problem.model):
            return _best(_Constant(problem.model).eval(), problem, validation)
    except BaseException as error:
        if ends_process(error):
            raise
        return {}


class _Constant(nn.Module):
    """Answers as the model does in shape, and with the same numbers whatever the input."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.batch = self.call = 0
        self.answer: nn.Parameter | None = None
        self._model = (model,)  # in a tuple: its weights are not this module's
        self._shapes: dict[tuple[int, int], torch.Size] = {}

    def forward(self, *given: Any, **named: Any) -> Tensor:
        key = (self.batch, self.call)
        self.call += 1
        if key not in self._shapes:
            with torch.no_grad():
                self._shapes[key] = self._model[0](*given, **named).shape
        shape = self._shapes[key]
        # Classes come last, but for images, whose channels come second.
        place = 1 if len(shape) == 4 else len(shape) - 1
        spread = [1] * len(shape)
        if len(shape) > 1:
            spread[place] = shape[place]
        if self.answer is None:
            self.answer = nn.Parameter(torch.zeros(math.prod(spread)))
        return self.answer.view(spread).expand(shape)


class _LBFGS(torch.optim.LBFGS):
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        eager(super().add_param_group)(param_group)


def _best(constant: _Constant, problem: Problem, validation: Sequence[Any]) -> dict[str, float]:
    late = time.monotonic() + PATIENCE

    def mean(measure: Callable[[nn.Module, Any], Any]) -> Any:
        found = []
        for constant.batch, batch in enumerate(validation):
            if time.monotonic() > late:
                raise TimeoutError
            constant.call = 0
            found.append(measure(constant, batch))
        return sum(found) / len(found)

    def closure() -> float:
        eager(optimizer.zero_grad)()
        loss = mean(problem.loss)
        loss.backward()
        return float(loss.detach())

    mean(problem.loss)  # makes the answer
    answer = constant.answer
    if answer is None:
        return {}
    optimizer = _LBFGS([answer], max_iter=50, line_search_fn="strong_wolfe")
    optimizer.step(closure)  # type: ignore[no-untyped-call]  # as torch has it
    lowest = closure()
    slope = 0.0 if answer.grad is None else float(answer.grad.abs().max())
    if not math.isfinite(lowest) or slope > SETTLED * (1 + abs(lowest)):
        return {}
    found = {LOSS: lowest}
    if problem.accuracy is not None:
        with torch.no_grad():
            found[ACCURACY] = float(mean(problem.accuracy))
    return found
