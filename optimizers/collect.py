"""What a step is of: tensors that have a gradient, with their state, begun and counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import Parameter

from autotune.kernels import backends
from autotune.kernels.rule import Rule, Update
from autotune.optimizers import buffers, capturable, check, gradients, scalars, sharded

if TYPE_CHECKING:
    from autotune.optimizers.base import Group, RuleOptimizer

Work = dict[tuple[Rule, str, sharded.Span | None], list[Update]]
_Row = tuple[float, ...]


def updates(optimizer: RuleOptimizer, given: gradients.Given | None) -> Work:
    """Return the tensors that have a gradient, by how they are to be updated."""
    work: Work = {}
    chosen: dict[torch.device, str] = {}
    order = _order(optimizer)
    groups = optimizer.param_groups
    for group, pairs in [(group, with_gradient(optimizer, group, given)) for group in groups]:
        if optimizer.capturable:
            _add_captured(work, optimizer, group, pairs, given)
            continue
        if optimizer.shared_clock:
            group["step"] = group.get("step", 0) + 1
        plain = _numbers(optimizer, group)
        rule = optimizer.rule(plain)
        rows: dict[tuple[int, bool], _Row] = {}
        found: dict[tuple[str, sharded.Span | None], list[Update]] = {}
        for p, g in pairs:
            now = p if given is None else given[p][0]
            kept, line, step = _counted(optimizer, plain, rule, p, now, rows)
            number = (step << 32) + order[p] if order else 0
            update, where = Update(now, g, kept, line, number), None
            if type(p) is not Parameter and sharded.is_cut(p):
                update, where = sharded.local(*update), sharded.span(p)
            if p.device not in chosen:
                chosen[p.device] = backends.choose(optimizer.backend, p)
            found.setdefault((chosen[p.device], where), []).append(update)
        for key, those in found.items():
            work.setdefault((rule, *key), []).extend(those)
    return work


def _add_captured(
    work: Work,
    optimizer: RuleOptimizer,
    group: Group,
    pairs: Sequence[tuple[Tensor, Tensor]],
    given: gradients.Given | None,
) -> None:
    """Add the updates of a group whose steps are counted on the device."""
    if not group["params"]:
        return
    plain = _numbers(optimizer, {**group, "lr": 0.0})
    rule = optimizer.rule(plain)
    found = [(p, p if given is None else given[p][0], g) for p, g in pairs]
    those = capturable.updates(optimizer, group, plain, rule, found)
    if those:
        work.setdefault((rule, "triton", None), []).extend(those)


def _order(optimizer: RuleOptimizer) -> dict[Tensor, int]:
    """Return the numbers of the parameters, if anything is rounded at random."""
    if not (optimizer.stochastic_rounding or optimizer.state_dtype is torch.bfloat16):
        return {}
    return {p: i for i, p in enumerate(optimizer.parameters())}


def _numbers(optimizer: RuleOptimizer, group: Group) -> Group:
    """Return a group whose hyper-parameters are numbers where tensors were given."""
    return {k: check.plain(v) if k in optimizer.defaults else v for k, v in group.items()}


def with_gradient(
    optimizer: RuleOptimizer, group: Group, given: gradients.Given | None = None
) -> list[tuple[Tensor, Tensor]]:
    """Return the parameters of a group that have a gradient, with it."""
    return gradients.checked(type(optimizer).__name__, group["params"], given)


def _counted(
    optimizer: RuleOptimizer,
    group: Group,
    rule: Rule,
    p: Tensor,
    now: Tensor,
    rows: dict[tuple[int, bool], _Row],
) -> tuple[tuple[Tensor, ...], _Row, int]:
    """Return a parameter's buffers, its row and its step, after counting it.

    Args:
        optimizer: The parameter's.
        group: The parameter's.
        rule: The group's.
        p: The parameter.
        now: What holds its values.
        rows: The group's, by step and freshness.
    """
    kept, fresh = buffers.held(optimizer, rule, p, now)
    state = optimizer.state[p]
    if not optimizer.shared_clock:
        state["step"] = state.get("step", 0) + 1
    key = (group["step"] if optimizer.shared_clock else state["step"], fresh)
    if key not in rows:
        rows[key] = scalars.row(optimizer, group, rule, *key)
    return kept, rows[key], key[0]
