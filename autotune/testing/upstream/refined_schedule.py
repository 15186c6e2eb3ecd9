"""Schedules that adaptive_scheduling's closed form refines, after the median of its README."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from autotune.testing.upstream.numbers import apart
from autotune.training.refined_schedule import ADAM_L1, SGD_L2, refined, smoothed

_POWERS = {"sgd_l2": SGD_L2, "adam_l1": ADAM_L1}


def differences(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each number that our code does not arrive at."""
    norms, tau = data["grad_norms"], data["tau"]
    medians = smoothed(np.asarray(norms, dtype=np.float64), tau).tolist()
    yield from apart("the smoothed norms", medians, data["smoothed"])
    made = refined(norms, power=_POWERS[data["mode"]], tau=tau)
    yield from apart("the schedule", made, data["schedule_normalised"])
