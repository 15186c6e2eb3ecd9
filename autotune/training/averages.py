"""Optimizers that keep an average of the weights: it is what is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def averaged(optimizer: Any) -> Iterator[None]:
    """Inside, a model has the weights that are measured; after, those that are trained.

    Args:
        optimizer: Its ``eval()`` and ``train()`` change them, if it has both.
    """
    both = all(callable(getattr(optimizer, way, None)) for way in ("eval", "train"))
    if both:
        optimizer.eval()
    try:
        yield
    finally:
        if both:
            optimizer.train()


def to_training(optimizer: Any) -> None:
    """Call ``train()`` of an optimizer that averages: some must be told before their first step."""
    if all(callable(getattr(optimizer, way, None)) for way in ("eval", "train")):
        optimizer.train()
