"""Betas so that their averages halve within as many samples as before."""

from __future__ import annotations

from typing import Any

from autotune.studies.setting import Setting
from autotune.transfer import decays
from autotune.transfer.base import Kind, Route, Rule


def _restate(found: Setting, now: Setting, route: Route, kind: Kind) -> dict[str, Any]:
    return decays.powers(now, route.batch_ratio)


rule = Rule(
    source="Marek et al. 2025 (arXiv:2507.07101)",
    answers="betas",
    follows="batch",
    restate=_restate,
    refuse=decays.refuse,
)
