"""The warm-up keeps its number of steps: a longer run has a smaller share of it."""

from __future__ import annotations

from autotune.studies.setting import Setting
from autotune.transfer.base import Kind, Route, Rule


def _restate(found: Setting, now: Setting, route: Route, kind: Kind) -> dict[str, float]:
    return {} if route.steps_ratio == 1 else {"warmup": found.warmup / route.steps_ratio}


rule = Rule(
    source="Ma and Yarats 2021 (arXiv:1910.04209), who tell it from beta2 alone",
    answers="warm-up",
    restate=_restate,
)
