"""lr by the square root of the batch, whatever the optimizer."""

from __future__ import annotations

import math

from autotune.studies.setting import Setting
from autotune.transfer.base import Kind, Route, Rule


def _restate(found: Setting, now: Setting, route: Route, kind: Kind) -> dict[str, float]:
    if route.batch_ratio == 1:
        return {}
    return {"lr": now.hyper["lr"] * math.sqrt(route.noise_ratio)}


rule = Rule(
    source="Malladi et al. 2022 (arXiv:2205.10287), the SDE of Adam",
    answers="lr for the batch",
    follows="batch",
    restate=_restate,
)
