"""What a group's ``acceleration`` applies updates with, and what it can be combined with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from autotune.kernels.rule import Part
from autotune.kernels.rules.schedule_free import SCHEDULE_FREE
from autotune.kernels.rules.win import WIN, WIN2
from autotune.optimizers import averaging, check, forms
from autotune.optimizers.options import FILTERS

if TYPE_CHECKING:
    from autotune.optimizers.base import Group, RuleOptimizer

PARTS = {"win": WIN, "win2": WIN2, averaging.NAME: SCHEDULE_FREE}
_COMPACTABLE = (WIN, WIN2)  # Schedule-Free's z takes the steps, and bfloat16 would lose small ones


def compactable(application: Part) -> bool:
    """Whether an application's buffers may be kept as short differences from the parameter."""
    return application in _COMPACTABLE


def schedule(self: RuleOptimizer) -> forms.AfterWarmup:
    """What its learning rate does after a warm-up: 'cosine' to 0, or 'constant'."""
    return forms.schedule({group["acceleration"] for group in self.param_groups})


def check_group(optimizer: RuleOptimizer, group: Group) -> None:
    """Refuse an acceleration that an optimizer has not, and what does not go with it."""
    mode = group["acceleration"]
    named = [forms.ENDINGS[form] for form in optimizer.forms if form not in FILTERS]
    check.one_of("acceleration", mode, ("none", *named))
    for name, only in optimizer.needs.get(mode, {}).items():
        if group[name] != only:
            raise ValueError(
                f"{name} must be {only!r} when acceleration is '{mode}', got {group[name]!r}"
            )
    if mode == averaging.NAME:
        _check_average(optimizer, group)
    optimizer._averages |= mode in averaging.APART


def _check_average(optimizer: RuleOptimizer, group: Group) -> None:
    check.at_least_zero("r", group["r"])
    check.at_least_zero("weight_lr_power", group["weight_lr_power"])
    beta = optimizer.interpolation(group)
    if not 0.0 < beta < math.inf:
        word = "momentum" if "momentum" in group else "betas[0]"
        raise ValueError(
            f"{word} must be above 0 when acceleration is '{averaging.NAME}', got {beta:g}; "
            "without it the average is lost"
        )
