"""GPT of 0.12 million parameters on Python's source, 4 seconds a full run; for text."""

from __future__ import annotations

from autotune.data import sources
from autotune.models.gpt import GPT, NANO
from autotune.tasks.base import Shortest
from autotune.tasks.supervised import Supervised


def task(data: str | None, steps: int | None, batch_size: int | None) -> Supervised:
    """Return the task; without arguments a full run takes about four seconds on one core."""
    return Supervised(
        name="gpt-nano",
        build=lambda seed: GPT(NANO),
        data=sources.text(data),
        steps=steps or 243,
        batch_size=batch_size or 16,
        shortest=Shortest(steps=41),
    )
