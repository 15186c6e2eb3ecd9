"""The warm-up keeps its share of the run."""

from __future__ import annotations

from autotune.studies.setting import Setting
from autotune.transfer.base import Kind, Route, Rule


def _restate(found: Setting, now: Setting, route: Route, kind: Kind) -> dict[str, float]:
    return {} if route.steps_ratio == 1 else {"warmup": now.warmup}


rule = Rule(
    source="Godbole et al. 2023, Deep Learning Tuning Playbook; AlgoPerf's workloads",
    answers="warm-up",
    restate=_restate,
)
