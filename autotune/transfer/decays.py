"""What the rules for betas share: every decay of an average to a power."""

from __future__ import annotations

from typing import Any

from autotune.optimizers import controllers
from autotune.optimizers.options import LOOKAHEAD
from autotune.studies.setting import Setting
from autotune.transfer.base import Kind

# Decays of options, and the argument and its value under which they are read.
_READ = {
    "grokfast_alpha": ("gradient_filter", "grokfast"),
    "lookahead_ema": ("acceleration", LOOKAHEAD),
}


def powers(setting: Setting, power: float) -> dict[str, Any]:
    """Return every decay of a setting that is read to a power; nothing where that is 1."""
    if power == 1:
        return {}
    new: dict[str, Any] = {}
    if "betas" in setting.hyper:
        new["betas"] = tuple(beta**power for beta in setting.hyper["betas"])
    others = [name for name, (key, word) in _READ.items() if setting.hyper.get(key) == word]
    for name in ("momentum", *others, *controllers.decays(setting.hyper)):
        if name in setting.hyper:
            new[name] = setting.hyper[name] ** power
    return new


def refuse(kind: Kind, setting: Setting) -> str | None:
    """Return why no beta can be restated, or None."""
    there = setting.hyper.keys() & {"betas", "momentum"}
    return None if there else "it has neither betas nor momentum"
