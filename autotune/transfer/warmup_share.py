"""The warm-up keeps its share of the run, and so does the step from which a controller acts."""

from __future__ import annotations

from autotune.optimizers import controllers
from autotune.studies.setting import Setting
from autotune.transfer.base import Kind, Route, Rule


def _restate(found: Setting, now: Setting, route: Route, kind: Kind) -> dict[str, float]:
    ratio, hyper = route.steps_ratio, now.hyper
    if ratio == 1:
        return {}
    begins = {name: round(hyper[name] * ratio) for name in controllers.begins(hyper)}
    return {"warmup": now.warmup, **begins}


rule = Rule(
    source="Godbole et al. 2023, Deep Learning Tuning Playbook; AlgoPerf's workloads",
    answers="warm-up",
    restate=_restate,
)
