"""What is saved of a paused loop of the user's own, so that another process goes on with it.

That is what went through the ``optimizer`` that it was given: models, optimizers and schedules, in
the order of its calls; beside them how chance stood, and what was measured. A loop says by taking
the argument ``start`` that this is all it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from autotune.devices import sticky
from autotune.tasks.base import Measured, Measurement
from autotune.training import checkpoint
from autotune.training.paused import Held
from autotune.training.verdict import out_of_memory


def save(path: Path, held: Held, identity: int) -> str | None:
    """Write a training's state, and return the file's checksum; raises OSError.

    Nothing is written for one that says that it cannot go on from a file, or that is trained again
    more quickly than read.
    """
    built = held.builder.built
    if not held.training.saved or not built or not held.measured:
        return None
    size = sum(checkpoint.size(each.model, each.optimizer) for each in built)
    if not checkpoint.quicker(size, held.seconds):
        return None
    state = {
        "identity": identity,
        "step": held.step,
        "seconds": held.seconds,
        "measured": [[m.step, m.measurement.loss, m.measurement.accuracy] for m in held.measured],
        "built": [[checkpoint.own(each.state_dict()) for each in one] for one in built],
        "chance": checkpoint.own(held.training.state()),
    }
    return checkpoint.write(path, state, size)


def load(path: Path, identity: int, expected: str | None) -> Mapping[str, Any] | None:
    """Return a saved state; None where it is missing, damaged or another trial's.

    Raises what a GPU raises whose memory is full or which fails.
    """
    if expected is not None and checkpoint.checksum(path) != expected:
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        return state if state["identity"] == identity and state["built"] else None
    except checkpoint.UNREADABLE as error:
        if out_of_memory(error) or sticky(error):
            raise  # the file is not at fault
        return None


def measured(state: Mapping[str, Any]) -> list[Measured]:
    """Return what a training had measured when it was saved."""
    return [
        Measured(step, Measurement(loss=loss, accuracy=accuracy))
        for step, loss, accuracy in state.get("measured", ())
    ]
