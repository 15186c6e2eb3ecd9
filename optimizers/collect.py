"""Collect what a step updates: the tensors with a gradient, their state and their scalars.

With many small tensors Python takes most of the time, so the work for each is done in few calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autotune.kernels import backends
from autotune.kernels.addresses import all_in_memory
from autotune.kernels.rule import Key, Rule, Update
from autotune.optimizers import averaging, buffers, check, gradients, on_device, scalars, sharded

if TYPE_CHECKING:
    from autotune.kernels.triton.prelude import Prelude
    from autotune.optimizers.base import Group, RuleOptimizer

Work = dict[tuple[Rule, str, sharded.Span | None], list[Update]]

# What a NamedTuple's constructor does, in a third of the time.
_update: Any = partial(tuple.__new__, Update)
_NO_SHARES = repeat(None)  # of averages
_IS_CPU, _DEVICE = attrgetter("is_cpu"), attrgetter("device")


def updates(optimizer: RuleOptimizer, given: gradients.Given | None) -> tuple[Work, Prelude | None]:
    """Return the updates of a step, by rule, backend and mesh, and the launch before it, if any."""
    sharded.refuse_pieces(optimizer)
    work: Work = {}
    groups = optimizer.param_groups
    ready = optimizer.watch.groups(optimizer)
    if optimizer._averages:
        averaging.refuse_in_evaluation(optimizer)
    found = [with_gradient(optimizer, group, given) for group in groups]
    if optimizer.capturable:
        return _counted_there(optimizer, ready, found, given)
    shares = (
        averaging.weights(repeat(optimizer), groups, ready) if optimizer._averages else _NO_SHARES
    )
    for group, plain, pairs, share in zip(groups, ready, found, shares, strict=False):
        if optimizer.shared_clock:
            last = group.get("step", 0)
            whole = last if type(last) is int else check.count("step", last)
            group["step"] = plain["step"] = whole + 1
        if pairs:
            rule = optimizer.rule(plain)
            params, grads = zip(*pairs, strict=True)
            made = _made(optimizer, plain, rule, params, grads, given, share)
            _add(work, optimizer, rule, params, grads, made)
    return work, None


def _made(
    optimizer: RuleOptimizer,
    group: Group,
    rule: Rule,
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    given: gradients.Given | None,
    share: float | None,
) -> list[Update]:
    """Count the steps of a group's parameters, and return their updates."""
    values = params if given is None else [given[p][0] for p in params]
    states = [optimizer.state[p] for p in params]
    kept, fresh = buffers.held(optimizer, rule, params, values, states)
    steps = _steps(optimizer, group, states)
    clocks = set(zip(steps, fresh, strict=True))
    if not all(type(step) is int for step, _ in clocks):  # someone has set a tensor, or a float
        steps = [check.count("step", step - 1) + 1 for step in steps]
        clocks = set(zip(steps, fresh, strict=True))
    if not optimizer.shared_clock:
        for state, step in zip(states, steps, strict=True):
            state["step"] = step
    rows = {clock: scalars.row(optimizer, group, rule, *clock, share=share) for clock in clocks}
    if len(rows) == 1:
        lines = [*rows.values()] * len(params)
    else:
        lines = [rows[clock] for clock in zip(steps, fresh, strict=True)]
    keys = _keys(optimizer, params, steps)
    return list(map(_update, zip(values, grads, kept, lines, keys, strict=True)))


def _steps(
    optimizer: RuleOptimizer, group: Group, states: Sequence[dict[str, Any]]
) -> Sequence[int]:
    """Return the step of each parameter, which may have a count of its own."""
    if optimizer.shared_clock:
        return [group["step"]] * len(states)
    return [state.get("step", 0) + 1 for state in states]


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
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    made: Sequence[Update],
) -> None:
    """Add a group's updates to the work, by backend and mesh."""
    if together(params) and all_in_memory(params) and all_in_memory(grads):
        backend = backends.choose(optimizer.backend, params[0])
        work.setdefault((rule, backend, None), []).extend(made)
        return
    for p, update in zip(params, made, strict=True):
        where = sharded.span(p) if sharded.is_sharded(p) else None
        own = sharded.local(p, update)
        used = backends.choose(optimizer.backend, own.p, own.g, *own.state)
        work.setdefault((rule, used, where), []).append(own)


def together(params: Sequence[Tensor]) -> bool:
    """Whether all parameters are on one device; on the CPU this is asked faster."""
    return all(map(_IS_CPU, params)) or len(set(map(_DEVICE, params))) == 1


def _counted_there(
    optimizer: RuleOptimizer,
    ready: Sequence[Group],
    found: Sequence[Sequence[tuple[Tensor, Tensor]]],
    given: gradients.Given | None,
) -> tuple[Work, Prelude | None]:
    """Return the updates of a step that is counted on the device, and its prelude."""
    shares = on_device.shares(optimizer, ready) if optimizer._averages else _NO_SHARES
    groups = [
        on_device.Ready(
            group,
            plain,
            optimizer.rule(plain),
            [(p, p if given is None else given[p][0], g) for p, g in pairs],
            n,
            share,
        )
        for n, (group, plain, pairs, share) in enumerate(
            zip(optimizer.param_groups, ready, found, shares, strict=False)
        )
        if group["params"]
    ]
    made, prelude = on_device.updates(optimizer, groups)
    return {(rule, "triton", None): those for rule, those in made.items() if those}, prelude


def with_gradient(
    optimizer: RuleOptimizer, group: Group, given: gradients.Given | None = None
) -> list[tuple[Tensor, Tensor]]:
    """Return the parameters of a group that have a gradient, with it."""
    return gradients.checked(type(optimizer).__name__, group["params"], given)
