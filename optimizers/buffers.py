"""The buffers of a parameter: created at its first gradient, in the form its rule keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autotune.kernels.layout import precision
from autotune.kernels.rule import Rule
from autotune.optimizers import compact
from autotune.optimizers.scalars import UNFILTERED
from autotune.optimizers.sharded import piece
from autotune.optimizers.transforms import BUFFERS

if TYPE_CHECKING:
    from autotune.optimizers.base import RuleOptimizer


def held(
    optimizer: RuleOptimizer,
    rule: Rule,
    params: Sequence[Tensor],
    values: Sequence[Tensor],
    states: Sequence[dict[str, Any]],
) -> tuple[list[tuple[Tensor, ...]], Sequence[int]]:
    """Return the buffers of each parameter, and which of its averages are new: see ``fresh``.

    Args:
        optimizer: The optimizer of the parameters.
        rule: The rule that steps them.
        params: The parameters.
        values: The tensors that hold their values: a compiler may have made copies.
        states: The state of each parameter.
    """
    _drop_left_behind(rule, states, optimizer._averages)
    if optimizer._filters:
        _drop_filters(rule, states)
    if not rule.relative:
        with suppress(KeyError):  # some are missing
            return _of(states, rule.buffers), [0] * len(states)
    both = [_held(optimizer, rule, *each) for each in zip(params, states, values, strict=True)]
    return [kept for kept, _ in both], [new for _, new in both]


def _drop_left_behind(rule: Rule, states: Sequence[dict[str, Any]], averages: bool) -> None:
    """Drop those of Win's and Schedule-Free's sequences that this rule does not use.

    If acceleration is switched on again, new ones begin at the parameter, as in the authors' code;
    the old ones would pull it back to where it was.
    """
    unmoved = [name for name in compact.SEQUENCES if name not in rule.buffers]
    # A state with y has x too, and one with z was averaged: so often only x has to be looked for.
    told = unmoved if averages else unmoved[:1]
    if unmoved and any(name in state for state in states for name in told):
        for state in states:
            for name in unmoved:
                state.pop(name, None)


def _drop_filters(rule: Rule, states: Sequence[dict[str, Any]]) -> None:
    """Drop what a filter kept that this rule has not: switched on again, it begins anew."""
    for name in BUFFERS:
        if name not in rule.averages:
            for state in states:
                state.pop(name, None)


def fresh(rule: Rule, state: Mapping[str, Any]) -> int:
    """Return 1 if the direction has seen no gradient yet, plus 2 if the filter has not; else 0."""
    found = int(not all(name in state for name in rule.direction.buffers))
    if rule.filter is not None and not all(name in state for name in rule.filter.buffers):
        found += UNFILTERED
    return found


def _of(states: Sequence[dict[str, Any]], names: Sequence[str]) -> list[tuple[Tensor, ...]]:
    """Return the tensors that each state has under these names."""
    if len(names) > 1:
        return list(map(itemgetter(*names), states))
    return [tuple([state[name] for name in names]) for state in states]


def _held(
    optimizer: RuleOptimizer, rule: Rule, p: Tensor, state: dict[str, Any], now: Tensor
) -> tuple[tuple[Tensor, ...], int]:
    """Return a parameter's buffers, and which of its averages are new."""
    if rule.relative and state:
        compact.shorten(state, [n for n in rule.application.buffers if n in state], p, now)
    new = fresh(rule, state)
    return begun(p, now, state, rule, optimizer.state_dtype), new


def settled(state: Mapping[str, Any], rule: Rule) -> bool:
    """Whether all buffers exist, in the form their rule keeps."""
    short = rule.application.buffers if rule.relative else ()
    there = all(name in state for name in rule.buffers)
    return there and all(state[name].dtype is torch.bfloat16 for name in short)


def begun(
    p: Tensor, now: Tensor, state: dict[str, Any], rule: Rule, dtype: torch.dtype | None
) -> tuple[Tensor, ...]:
    """Create missing buffers: averages at 0, Win's sequences at the parameter's values."""
    own = rule.averages
    for name in rule.buffers:
        if name in state:
            continue
        if name in own or rule.relative:
            kept = dtype if name in own else torch.bfloat16
            state[name] = torch.zeros_like(p, dtype=kept or precision(p))
        elif name in rule.application.zeros:
            state[name] = torch.zeros_like(p, dtype=precision(p))
        else:
            state[name] = torch.empty_like(p, dtype=precision(p))
            piece(state[name]).copy_(piece(now))
    return tuple([state[name] for name in rule.buffers])
