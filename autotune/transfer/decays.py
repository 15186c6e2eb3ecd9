"""What the rules for betas share: every decay of an average to a power."""

from __future__ import annotations

from typing import Any

from autotune.studies.setting import Setting
from autotune.transfer.base import Kind


def powers(setting: Setting, power: float) -> dict[str, Any]:
    """Return the betas or the momentum of a setting to a power; nothing where that is 1."""
    if power == 1:
        return {}
    new: dict[str, Any] = {}
    if "betas" in setting.hyper:
        new["betas"] = tuple(beta**power for beta in setting.hyper["betas"])
    if "momentum" in setting.hyper:
        new["momentum"] = setting.hyper["momentum"] ** power
    return new


def refuse(kind: Kind, setting: Setting) -> str | None:
    """Return why no beta can be restated, or None."""
    there = setting.hyper.keys() & {"betas", "momentum"}
    return None if there else "it has neither betas nor momentum"
