"""The buffers of a parameter: begun at its first gradient, and in the form their rule keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autotune.kernels.eager import precision
from autotune.kernels.rule import Rule
from autotune.optimizers import compact

if TYPE_CHECKING:
    from autotune.optimizers.base import RuleOptimizer


def held(
    optimizer: RuleOptimizer, rule: Rule, p: Tensor, now: Tensor
) -> tuple[tuple[Tensor, ...], bool]:
    """Return a parameter's buffers, and whether its direction's only begin.

    Args:
        optimizer: The parameter's.
        rule: What steps it.
        p: The parameter.
        now: What holds its values.
    """
    state = optimizer.state[p]
    if rule.relative and state:
        compact.shorten(state, [n for n in rule.application.buffers if n in state], now)
    try:
        return tuple([state[name] for name in rule.buffers]), False
    except KeyError:
        fresh = not all(name in state for name in rule.direction.buffers)
        return begun(now, state, rule, optimizer.state_dtype), fresh


def settled(state: Mapping[str, Any], rule: Rule) -> bool:
    """Whether all buffers are there as their rule keeps them."""
    short = rule.application.buffers if rule.relative else ()
    there = all(name in state for name in rule.buffers)
    return there and all(state[name].dtype is torch.bfloat16 for name in short)


def begun(
    p: Tensor, state: dict[str, Any], rule: Rule, dtype: torch.dtype | None
) -> tuple[Tensor, ...]:
    """Begin the buffers a parameter lacks: averages at zero, sequences at the parameter."""
    own = rule.direction.buffers
    for name in rule.buffers:
        if name in state:
            continue
        if name in own or rule.relative:
            kept = dtype if name in own else torch.bfloat16
            state[name] = torch.zeros_like(p, dtype=kept or precision(p))
        else:
            state[name] = torch.empty_like(p, dtype=precision(p)).copy_(p)
    return tuple([state[name] for name in rule.buffers])
