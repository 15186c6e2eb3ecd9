"""Which rule steps a group: the parts that its optimizer and its options ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from autotune.kernels.rule import Part, Rule
from autotune.kernels.rules import cautious, coord_clip, lookahead
from autotune.optimizers import applications
from autotune.optimizers.options import LOOKAHEAD
from autotune.optimizers.transforms import FILTERS, gradient_shaping

if TYPE_CHECKING:
    from autotune.optimizers.base import Group, RuleOptimizer


def rule(self: RuleOptimizer, group: Group) -> Rule:
    """Return the rule that steps a group; it also names the buffers to keep."""
    application = applications.PARTS.get(group["acceleration"]) or self.unaccelerated(group)
    if group.get("cautious_decay"):
        application = cautious.OF[application]
    if group["acceleration"] == LOOKAHEAD:
        application = lookahead.OF[application]
    direction, filtering = self.direction(group), FILTERS.get(group.get("gradient_filter", ""))
    on = filtering is not None or group.get("layer_clip") or group.get("coord_clip")
    return Rule(
        direction=direction,
        application=application,
        shaping=coord_clip.UPDATE if group.get("update_clip") else self.shaping(group),
        filter=filtering,
        gradient_shaping=gradient_shaping(group) if on else None,
        dithered=_dithered(self, direction, filtering),
        relative=self.compact and applications.compactable(application),
    )


def _dithered(optimizer: RuleOptimizer, direction: Part, filtering: Part | None) -> tuple[int, ...]:
    """Return the roles rounded at random: 0 is the parameter, from 2 on are the buffers."""
    p = (0,) if optimizer.stochastic_rounding else ()
    if optimizer.state_dtype is not torch.bfloat16:
        return p
    count = len(direction.buffers) + (0 if filtering is None else len(filtering.buffers))
    return (*p, *range(2, 2 + count))
