"""lr by the batch: by its square root for adaptive methods, in proportion for SGD."""

from __future__ import annotations

import math

from autotune.studies.setting import Setting
from autotune.transfer.base import SGD, Kind, Route, Rule


def _restate(found: Setting, now: Setting, route: Route, kind: Kind) -> dict[str, float]:
    if route.batch_ratio == 1:
        return {}
    ratio = route.noise_ratio
    return {"lr": now.hyper["lr"] * (ratio if kind.family == SGD else math.sqrt(ratio))}


def _refuse(kind: Kind, setting: Setting) -> str | None:
    if kind.family is not None:
        return None
    return "its class does not say how it scales; name batch-sqrt or batch-linear"


rule = Rule(
    source="Granziol et al. 2022 (JMLR 23), Malladi et al. 2022 (arXiv:2205.10287)",
    answers="lr for the batch",
    follows="batch",
    restate=_restate,
    refuse=_refuse,
)
