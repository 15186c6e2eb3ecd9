"""Paused trainings that this process keeps: to go on with one costs nothing.

They hold models and whatever else the user's loop has, so they are few: of more, the one that was
paused longest ago is closed, and repeats its steps if its trial goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from dataclasses import dataclass, field

from autotune.tasks.base import Measured, Training
from autotune.training.building import Builder

MOST = 8  # trainings of one process


@dataclass(kw_only=True)
class Held:
    """A training with what it has measured.

    Args:
        training: The training.
        builder: What it builds its optimizer with.
        measured: Its measurements, oldest first.
        seconds: How long it has run.
    """

    training: Training
    builder: Builder
    measured: list[Measured] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def step(self) -> int:
        """Return the step of its last measurement."""
        return self.measured[-1].step if self.measured else 0


_kept: dict[Hashable, Held] = {}


def keep(which: Hashable, held: Held) -> list[str]:
    """Keep a training; return what went wrong in those that were closed for it."""
    _kept[which] = held
    return _close(list(_kept)[: max(0, len(_kept) - MOST)])


def take(which: Hashable) -> Held | None:
    """Return a training that is kept here, and keep it no longer."""
    return _kept.pop(which, None)


def count() -> int:
    """Return how many are kept."""
    return len(_kept)


def close_all() -> None:
    """Close all that are kept; what goes wrong is said on stderr, as no trial runs to tell it."""
    for text in _close(list(_kept)):
        sys.stderr.write(f"{text}\n")


def _close(which: list[Hashable]) -> list[str]:
    said = [_kept.pop(each).training.close() for each in which]
    return [text for text in said if text]
