"""lr by the length of the run: the longer, the lower, by the power found for language models."""

from __future__ import annotations

from autotune.studies.setting import Setting
from autotune.transfer.base import ADAPTIVE, Kind, Route, Rule

POWER = 0.32  # of the tokens, for language models trained with AdamW


def _restate(found: Setting, now: Setting, route: Route, kind: Kind) -> dict[str, float]:
    if route.steps_ratio == 1:
        return {}
    return {"lr": now.hyper["lr"] / route.steps_ratio**POWER}


def _refuse(kind: Kind, setting: Setting) -> str | None:
    return None if kind.family == ADAPTIVE else "it was found for AdamW, an adaptive method"


rule = Rule(
    source="Bjorck et al. 2025 (arXiv:2409.19913)",
    answers="lr for the length",
    follows="steps",
    restate=_restate,
    refuse=_refuse,
)
