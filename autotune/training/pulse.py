"""Signs of life of a job: each time a part of its work begins, the process that waits is told."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum


class Phase(IntEnum):
    """What a job is doing."""

    IDLE = 0  # there is no job, or its first sign of life is still to come
    START = 1  # loading the task, building the model, and the first step
    STEP = 2
    EVALUATION = 3
    SAVING = 4
    LOOP = 5  # a loop of the user's own, until its next measurement


Pulse = Callable[[Phase], None]


def silent(phase: Phase) -> None:
    """Tell nobody."""
