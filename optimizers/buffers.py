"""The buffers of a parameter: begun at its first gradient, and in the form their rule keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autotune.kernels.eager import precision
from autotune.kernels.rule import Rule
from autotune.optimizers import compact
from autotune.optimizers.sharded import piece

if TYPE_CHECKING:
    from autotune.optimizers.base import RuleOptimizer


def held(
    optimizer: RuleOptimizer, rule: Rule, params: Sequence[Tensor], values: Sequence[Tensor]
) -> tuple[list[tuple[Tensor, ...]], Sequence[bool]]:
    """Return the buffers of parameters, and for which of them the direction's only begin.

    Args:
        optimizer: The parameters'.
        rule: What steps them.
        params: The parameters.
        values: What holds their values.
    """
    states = [optimizer.state[p] for p in params]
    _drop_left_behind(rule, states)
    if not rule.relative:
        with suppress(KeyError):  # some begin
            return _of(states, rule.buffers), [False] * len(states)
    both = [_held(optimizer, rule, *each) for each in zip(params, states, values, strict=True)]
    return [kept for kept, _ in both], [fresh for _, fresh in both]


def _drop_left_behind(rule: Rule, states: Sequence[dict[str, Any]]) -> None:
    """Drop sequences that this step moves the parameter away from, without moving them.

    Where acceleration comes back they begin at the parameter, as in the authors' code; the old
    ones would pull it back to where it was.
    """
    unmoved = [name for name in compact.SEQUENCES if name not in rule.buffers]
    # Where there is a later sequence, there is every earlier one.
    if unmoved and any(unmoved[0] in state for state in states):
        for state in states:
            for name in unmoved:
                state.pop(name, None)


def _of(states: Sequence[dict[str, Any]], names: Sequence[str]) -> list[tuple[Tensor, ...]]:
    """Return what each state has under some names."""
    if len(names) > 1:
        return list(map(itemgetter(*names), states))
    return [tuple([state[name] for name in names]) for state in states]


def _held(
    optimizer: RuleOptimizer, rule: Rule, p: Tensor, state: dict[str, Any], now: Tensor
) -> tuple[tuple[Tensor, ...], bool]:
    """Return a parameter's buffers, and whether its direction's only begin."""
    if rule.relative and state:
        compact.shorten(state, [n for n in rule.application.buffers if n in state], p, now)
    fresh = not all(name in state for name in rule.direction.buffers)
    return begun(p, now, state, rule, optimizer.state_dtype), fresh


def settled(state: Mapping[str, Any], rule: Rule) -> bool:
    """Whether all buffers are there as their rule keeps them."""
    short = rule.application.buffers if rule.relative else ()
    there = all(name in state for name in rule.buffers)
    return there and all(state[name].dtype is torch.bfloat16 for name in short)


def begun(
    p: Tensor, now: Tensor, state: dict[str, Any], rule: Rule, dtype: torch.dtype | None
) -> tuple[Tensor, ...]:
    """Begin the buffers a parameter lacks: averages at zero, sequences at its values now."""
    own = rule.direction.buffers
    for name in rule.buffers:
        if name in state:
            continue
        if name in own or rule.relative:
            kept = dtype if name in own else torch.bfloat16
            state[name] = torch.zeros_like(p, dtype=kept or precision(p))
        else:
            state[name] = torch.empty_like(p, dtype=precision(p))
            piece(state[name]).copy_(piece(now))
    return tuple([state[name] for name in rule.buffers])
