"""lr in proportion to the batch, whatever the optimizer."""

from __future__ import annotations

from autotune.studies.setting import Setting
from autotune.transfer.base import Kind, Route, Rule


def _restate(found: Setting, now: Setting, route: Route, kind: Kind) -> dict[str, float]:
    if route.batch_ratio == 1:
        return {}
    return {"lr": now.hyper["lr"] * route.noise_ratio}


rule = Rule(
    source="Goyal et al. 2017 (arXiv:1706.02677)",
    answers="lr for the batch",
    follows="batch",
    restate=_restate,
)
