"""Betas so that their averages halve within the same share of the run as before."""

from __future__ import annotations

from typing import Any

from autotune.studies.setting import Setting
from autotune.transfer import decays
from autotune.transfer.base import Kind, Route, Rule


def _restate(found: Setting, now: Setting, route: Route, kind: Kind) -> dict[str, Any]:
    return decays.powers(now, 1 / route.steps_ratio)


rule = Rule(
    source="Semenov et al. 2025 (arXiv:2509.01440), who tune betas by the length of the run",
    answers="betas",
    follows="steps",
    restate=_restate,
    refuse=decays.refuse,
)
