"""GPT of 8 thousand parameters on Python's source, half a second a run; for many trials."""

from __future__ import annotations

from functools import partial

from autotune.data import sources
from autotune.models.gpt import GPT, PICO, side_by_side
from autotune.tasks.base import Shortest
from autotune.tasks.supervised import Supervised


def task(data: str | None, steps: int | None, batch_size: int | None) -> Supervised:
    """Return the task; without arguments a full run takes about half a second on one core."""
    return Supervised(
        name="gpt-pico",
        build=lambda seed: GPT(PICO),
        data=sources.text(data, context=PICO.context),
        steps=steps or 162,
        batch_size=batch_size or 8,
        shortest=Shortest(steps=27),
        side_by_side=partial(side_by_side, PICO),
        runs_at_once=16,
    )
