"""The learning-rate schedule of every run: linear warm-up, then half a cosine down to zero."""

from __future__ import annotations

import math


def multiplier(step: int, steps: int, warmup: float) -> float:
    """Return what the learning rate is multiplied by at ``step`` (from 0) of ``steps``.

    ``warmup`` is a fraction of the schedule, w steps of it. No step is taken at a rate of zero: the
    first takes 1/(w + 1) of the peak, and the cosine would reach zero at ``steps``.
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
