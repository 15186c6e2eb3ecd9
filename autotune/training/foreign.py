"""Try another package's optimizer on two small parameters, before anything trains with it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from autotune.errors import SpecError
from autotune.optimizers import create, defaults
from autotune.optimizers.eager import eager
from autotune.optimizers.registry import is_foreign
from autotune.studies.setting import Setting
from autotune.training.averages import to_training
from autotune.training.building import optimizer_of

_THEIRS = (Exception, SystemExit)  # what a class may raise; the search tells of it
STEPS = 3  # before a pause, and after it


@torch.random.fork_rng(devices=[])
def built(name: str, hyper: Mapping[str, Any], params: list[nn.Parameter], what: str) -> None:
    """Build an optimizer for parameters that it takes; raises SpecError where it refuses a value.

    Args:
        name: Dotted name of the optimizer.
        hyper: Its keyword arguments.
        params: What ``stepped`` returned.
        what: The value that is tried, for the sentence.
    """
    try:
        create(name, params, **hyper)
    except _THEIRS as error:
        raise SpecError(f"{name} refuses {what}: {_line(error)}") from error


@torch.random.fork_rng(devices=[])
def stepped(name: str, hyper: Mapping[str, Any]) -> list[nn.Parameter]:
    """Take a step, and return the parameters that took it: some optimizers take matrices alone.

    Args:
        name: Dotted name of the optimizer.
        hyper: Its keyword arguments.

    Raises:
        SpecError: The optimizer refuses a value, or cannot step.
    """
    try:
        params = _parameters()
        optimizer = create(name, params, **hyper)
    except _THEIRS as refused:
        params = _parameters()[:1]
        try:
            optimizer = create(name, params, **hyper)
        except _THEIRS:
            raise SpecError(f"{name} refuses its setting: {_line(refused)}") from refused
    if not hasattr(optimizer, "param_groups"):
        raise SpecError(
            f"{name} keeps no param_groups; call super().__init__(params, defaults) in its __init__"
        )
    if any("lr" not in group for group in optimizer.param_groups):
        raise SpecError(
            f"{name} keeps no 'lr' in its param_groups, so no schedule reaches it; search another"
        )
    try:
        to_training(optimizer)
        _advance(optimizer, params, 1)
    except _THEIRS as error:
        raise SpecError(f"{name} cannot take a step: {_line(error)}") from error
    return params


def _parameters() -> list[nn.Parameter]:
    """Return a matrix and a vector."""
    return [nn.Parameter(torch.linspace(-1.0, 1.0, 12).view(4, 3)), nn.Parameter(torch.ones(3))]


def _advance(optimizer: Optimizer, params: list[nn.Parameter], steps: int) -> None:
    """Take steps along fixed gradients."""
    for _ in range(steps):
        eager(optimizer.zero_grad)(set_to_none=True)
        for p in params:
            p.grad = _gradient(p)
        optimizer.step()


def _gradient(p: Tensor) -> Tensor:
    return torch.linspace(1.0, -0.5, p.numel()).view(p.shape) + 0.1 * p.detach()


def unsaved(name: str) -> str | None:
    """Return why trials of an optimizer are not saved when they pause; None if they are."""
    if not is_foreign(name) or resumes(name):
        return None
    return (
        f"its checkpoint was not saved: {name} keeps more than its state_dict() holds, so steps "
        "are repeated"
    )


@cache
@torch.random.fork_rng(devices=[])
def resumes(name: str) -> bool:
    """Return whether an optimizer goes on from its ``state_dict()`` as it would have, to the bit.

    One that keeps something elsewhere does not. It is tried once in a process, by a few small
    steps, which also load all that its first step needs.

    Args:
        name: Dotted name of the optimizer.
    """
    hyper = defaults(name)
    try:
        count = len(stepped(name, hyper))  # of the parameters that it takes
        straight, halved = _parameters()[:count], _parameters()[:count]
        _advance(_begun(name, straight, hyper), straight, 2 * STEPS)
        first = _begun(name, halved, hyper)
        _advance(first, halved, STEPS)
        second = _begun(name, halved, hyper)
        second.load_state_dict(_stored(first.state_dict()))
        _advance(second, halved, STEPS)
    except Exception:  # such as a state that no file takes
        return False
    return all(torch.equal(p, q) for p, q in zip(straight, halved, strict=True))


def _begun(name: str, params: list[nn.Parameter], hyper: Mapping[str, Any]) -> Optimizer:
    optimizer: Optimizer = create(name, params, **hyper)
    to_training(optimizer)
    return optimizer


def _stored(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state as it comes back from a checkpoint."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def fits(model: nn.Module, name: str, setting: Setting) -> None:
    """Refuse a model that an optimizer does not take; raises SpecError with the optimizer's words.

    Args:
        model: What trials train; it is not changed.
        name: The optimizer.
        setting: A setting that it takes.
    """
    try:
        optimizer_of(model, name, setting.hyper)
    except _THEIRS as error:
        raise SpecError(f"{name} refuses this model: {_line(error)}") from error


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if not text or isinstance(error, SystemExit | KeyError):  # a code or a key alone says nothing
        return f"{type(error).__name__}{text and f': {text}'}"
    return text
