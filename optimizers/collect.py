"""Collect what a step updates: the tensors with a gradient, their state and their scalars.

With many small tensors Python takes most of the time, so the work for each is done in few calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Parameter

from autotune.kernels import backends
from autotune.kernels.rule import Key, Rule, Update
from autotune.optimizers import buffers, capturable, gradients, scalars, sharded

if TYPE_CHECKING:
    from autotune.optimizers.base import Group, RuleOptimizer

Work = dict[tuple[Rule, str, sharded.Span | None], list[Update]]

# What a NamedTuple's constructor does, in a third of the time.
_update: Any = partial(tuple.__new__, Update)


def updates(optimizer: RuleOptimizer, given: gradients.Given | None) -> Work:
    """Return the updates of a step, by rule, backend and mesh."""
    work: Work = {}
    groups = optimizer.param_groups
    ready = optimizer.watch.groups(optimizer)
    found = [with_gradient(optimizer, group, given) for group in groups]
    for group, plain, pairs in zip(groups, ready, found, strict=True):
        if optimizer.capturable:
            _add_captured(work, optimizer, group, plain, pairs, given)
            continue
        if optimizer.shared_clock:
            group["step"] = plain["step"] = group.get("step", 0) + 1
        if pairs:
            rule = optimizer.rule(plain)
            _add(work, optimizer, rule, pairs, _made(optimizer, plain, rule, pairs, given))
    return work


def _made(
    optimizer: RuleOptimizer,
    group: Group,
    rule: Rule,
    pairs: Sequence[tuple[Tensor, Tensor]],
    given: gradients.Given | None,
) -> list[Update]:
    """Count the steps of a group's parameters, and return their updates."""
    params = [p for p, _ in pairs]
    values = params if given is None else [given[p][0] for p in params]
    kept, fresh = buffers.held(optimizer, rule, params, values)
    steps = _steps(optimizer, group, params)
    clocks = list(zip(steps, fresh, strict=True))
    rows = {clock: scalars.row(optimizer, group, rule, *clock) for clock in set(clocks)}
    lines = [rows[clock] for clock in clocks]
    keys = _keys(optimizer, params, steps)
    grads = [g for _, g in pairs]
    return list(map(_update, zip(values, grads, kept, lines, keys, strict=True)))


def _steps(optimizer: RuleOptimizer, group: Group, params: Sequence[Tensor]) -> Sequence[int]:
    """Return the step of each parameter; where each has a count of its own, increment it."""
    if optimizer.shared_clock:
        return [group["step"]] * len(params)
    states = [optimizer.state[p] for p in params]
    steps = [state.get("step", 0) + 1 for state in states]
    for state, step in zip(states, steps, strict=True):
        state["step"] = step
    return steps


def _keys(
    optimizer: RuleOptimizer, params: Sequence[Tensor], steps: Sequence[int]
) -> Sequence[Key]:
    """Return the key of each parameter's random numbers, or 0 if none are needed."""
    if not (optimizer.stochastic_rounding or optimizer.state_dtype is torch.bfloat16):
        return [0] * len(params)
    order = {p: i for i, p in enumerate(optimizer.parameters())}
    return [(step << 32) + order[p] for p, step in zip(params, steps, strict=True)]


def _add(
    work: Work,
    optimizer: RuleOptimizer,
    rule: Rule,
    pairs: Sequence[tuple[Tensor, Tensor]],
    made: Sequence[Update],
) -> None:
    """Add a group's updates to the work, by backend and mesh."""
    params = [p for p, _ in pairs]
    homes = {p.device: p for p in params}
    used = {home: backends.choose(optimizer.backend, p) for home, p in homes.items()}
    if len(used) == 1 and not any(
        sharded.is_sharded(p) for p in params if type(p) is not Parameter
    ):
        [backend] = used.values()
        work.setdefault((rule, backend, None), []).extend(made)
        return
    for p, update in zip(params, made, strict=True):
        where = sharded.span(p) if sharded.is_sharded(p) else None
        own = sharded.local(p, update) if where else update
        work.setdefault((rule, used[p.device], where), []).append(own)


def _add_captured(
    work: Work,
    optimizer: RuleOptimizer,
    group: Group,
    plain: Group,
    pairs: Sequence[tuple[Tensor, Tensor]],
    given: gradients.Given | None,
) -> None:
    """Add the updates of a group whose steps are counted on the device."""
    if not group["params"]:
        return
    rule = optimizer.rule(plain)
    found = [(p, p if given is None else given[p][0], g) for p, g in pairs]
    those = capturable.updates(optimizer, group, plain, rule, found)
    if those:
        work.setdefault((rule, "triton", None), []).extend(those)


def with_gradient(
    optimizer: RuleOptimizer, group: Group, given: gradients.Given | None = None
) -> list[tuple[Tensor, Tensor]]:
    """Return the parameters of a group that have a gradient, with it."""
    return gradients.checked(type(optimizer).__name__, group["params"], given)
