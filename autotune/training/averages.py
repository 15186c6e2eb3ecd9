"""Optimizers that keep an average of the weights: it is what is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import ref

import torch
from torch import nn

from autotune.optimizers.forms import has_modes


@contextmanager
def averaged(optimizer: Any) -> Iterator[None]:
    """Inside, a model has the weights that are measured; after, those that are trained.

    Args:
        optimizer: Its ``eval()`` and ``train()`` change them, if it has both.
    """
    both = has_modes(optimizer)
    if both:
        optimizer.eval()
    try:
        yield
    finally:
        if both:
            optimizer.train()


def to_training(optimizer: Any) -> None:
    """Call ``train()`` of an optimizer that averages: some must be told before their first step."""
    if has_modes(optimizer):
        optimizer.train()


def follow(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Let calls of a model find the weights that they should, in a loop that we do not see.

    A call in evaluation mode without gradients finds the average, as loops make one to measure;
    one in training mode with gradients finds the weights that are trained. Other calls change
    nothing. Copies of the model are left alone.

    Args:
        model: What the loop calls.
        optimizer: The model's; nothing is done unless it averages.
    """
    if getattr(optimizer, "averages", False):
        model.register_forward_pre_hook(_Follower(model, optimizer))


class _Follower:
    """A hook before calls of one model."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model, self._optimizer = ref(model), ref(optimizer)

    def __call__(self, model: nn.Module, given: object) -> None:
        optimizer: Any = self._optimizer()
        if optimizer is None or model is not self._model():
            return
        with_gradients = torch.is_grad_enabled()
        if model.training and with_gradients:
            optimizer.train()
        elif not model.training and not with_gradients:
            optimizer.eval()

    def __deepcopy__(self, memo: object) -> _Follower:
        return self

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return _nothing, ()


def _nothing() -> Callable[[nn.Module, object], None]:
    """Return the hook of a pickled model: its optimizer is not there."""
    return _leave


def _leave(model: nn.Module, given: object) -> None:
    """Change nothing."""
