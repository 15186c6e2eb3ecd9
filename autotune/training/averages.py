"""Optimizers whose weights to measure are not those to train, such as Schedule-Free ones.

They have ``eval()``, which puts an average into the parameters, and ``train()``, which takes it out
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.optim import Optimizer


def to_training(optimizer: Optimizer) -> None:
    """Call ``train()`` of an optimizer that has both; some must be told before their first step."""
    if _has_both(optimizer):
        optimizer.train()  # type: ignore[attr-defined]


@contextmanager
def measuring(optimizer: Optimizer) -> Iterator[None]:
    """Call ``eval()`` before and ``train()`` after a measurement, of an optimizer that has both."""
    if not _has_both(optimizer):
        yield
        return
    optimizer.eval()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        optimizer.train()  # type: ignore[attr-defined]


def _has_both(optimizer: Optimizer) -> bool:
    return all(callable(getattr(optimizer, name, None)) for name in ("train", "eval"))
