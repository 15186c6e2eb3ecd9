"""Updates whose steps are counted on the device, where their scalars are computed too.

One launch does that for a whole step, the prelude; where it cannot, operators do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from autotune.kernels.rule import Key, Rule, Update
from autotune.kernels.triton import tables
from autotune.kernels.triton.tables import place, table
from autotune.optimizers import averaging, buffers, scalars, tape
from autotune.optimizers.capturable import place_rate

if TYPE_CHECKING:
    from autotune.kernels.triton.prelude import Prelude
    from autotune.optimizers.base import Group, RuleOptimizer

Found = Sequence[tuple[Tensor, Tensor, Tensor]]  # parameter, tensor with its values, gradient


class Ready(NamedTuple):
    """A group to step, with its hyper-parameters as numbers and the parameters with a gradient."""

    group: Group
    plain: Group
    rule: Rule
    found: Found
    n: int = 0  # of the group
    share: Tensor | None = None  # of a new base point in Schedule-Free's average


class Begun(NamedTuple):
    """A group whose state, step counts and learning rate are on the device."""

    ready: Ready
    held: Sequence[tuple[Tensor, ...]]
    fresh: Sequence[int]  # which averages are new
    counters: Sequence[Tensor]  # the group's, or each parameter's
    rate: Tensor  # the learning rate, with the group's multiplier


def updates(
    optimizer: RuleOptimizer, ready: Sequence[Ready]
) -> tuple[dict[Rule, list[Update]], Prelude | None]:
    """Return the updates of a step by rule, and the launch that counts it and fills their rows.

    If there is no such launch, operators have done both: where buffers are new, as their rows are
    others, and where a formula does more with a step than arithmetic.
    """
    rules = dict.fromkeys(group.rule for group in ready)
    begun = [_begun(optimizer, each) for rule in rules for each in ready if each.rule == rule]
    prelude = _prelude(optimizer, begun) if begun else None
    if prelude is not None and not any(any(group.fresh) for group in begun):
        return _shared_rows(begun, prelude), prelude
    work: dict[Rule, list[Update]] = {}
    for group in begun:
        work.setdefault(group.ready.rule, []).extend(_by_operators(optimizer, group))
    if prelude is not None:
        prelude.tables()  # the next step may be captured, when nothing is sent
    return work, None


def shares(optimizer: RuleOptimizer, ready: Sequence[Group]) -> list[Tensor | None]:
    """Do as ``averaging.weights`` where learning rates are: one that falls is not seen here."""
    return [
        _share(optimizer, n, group, plain)
        if plain["acceleration"] == averaging.NAME and group["params"]
        else None
        for n, (group, plain) in enumerate(zip(optimizer.param_groups, ready, strict=True))
    ]


def _share(optimizer: RuleOptimizer, n: int, group: Group, plain: Group) -> Tensor:
    """Count a step of a group's average unless there is overflow; return its new point's weight."""
    home, overflow = group["params"][0].device, getattr(optimizer, "found_inf", None)
    place_rate(group)
    largest, total, count = (_kept(group, name, home) for name in averaging.KEPT)
    taken = 1.0 if overflow is None else (overflow.reshape(()) == 0).double()
    count.add_(taken)
    rate = group["lr"].reshape(()).double() * optimizer.pace(plain, count)
    largest.copy_(torch.maximum(largest, rate * taken))
    own = count ** plain["r"] * largest ** plain["weight_lr_power"]
    total.add_(own * taken)
    if n not in optimizer._shares:  # a graph reads it where it is
        optimizer._shares[n] = torch.zeros_like(total)
    return optimizer._shares[n].copy_(torch.where(total > 0.0, own / total, 0.0))


def _kept(group: Group, name: str, home: torch.device) -> Tensor:
    """Move what a group keeps for its average to the device, and return it."""
    if not isinstance(group.get(name), Tensor):
        if tables.capturing(home):
            raise RuntimeError(
                "a captured step needs the weights of averages on the device, where the first step "
                "after building or loading moves them; take one step before the capture"
            )
        group[name] = torch.full((), group.get(name, 0.0), dtype=torch.float64, device=home)
    kept: Tensor = group[name]
    return kept


def _begun(optimizer: RuleOptimizer, ready: Ready) -> Begun:
    """Create a group's missing state, and move its step counts and learning rate to the device."""
    params = [p for p, _, _ in ready.found]
    _refuse_to_begin(optimizer, ready.rule, params)
    states = [optimizer.state[p] for p in params]
    values = [now for _, now, _ in ready.found]
    held, fresh = buffers.held(optimizer, ready.rule, params, values, states)
    home = ready.group["params"][0].device
    counted = [ready.group] if optimizer.shared_clock else states
    counters = [_counter(where, home) for where in counted]
    place_rate(ready.group)
    multiplied = scalars.MULTIPLIER in ready.group
    rate = _multiplied(optimizer, ready) if multiplied else ready.group["lr"]
    return Begun(ready, held, fresh, counters, rate)


def _multiplied(optimizer: RuleOptimizer, ready: Ready) -> Tensor:
    """Return a group's learning rate with its multiplier, at one address for all steps."""
    group, n = ready.group, ready.n
    place_rate(group, scalars.MULTIPLIER)
    multiplier = group[scalars.MULTIPLIER]
    if n not in optimizer._rates:  # a graph reads it where it is
        optimizer._rates[n] = torch.zeros_like(multiplier, dtype=torch.float64)
    return optimizer._rates[n].copy_(group["lr"].reshape(())).mul_(multiplier)


def _refuse_to_begin(optimizer: RuleOptimizer, rule: Rule, params: Sequence[Tensor]) -> None:
    """Refuse to create state while a graph is captured."""
    capturing = bool(params) and tables.capturing(params[0].device)
    if capturing and not all(buffers.settled(optimizer.state[p], rule) for p in params):
        raise RuntimeError(
            "a captured step cannot create or convert state, as every replay would repeat it; "
            "take a step with the same gradients before the capture"
        )


def _counter(where: dict[str, Any], home: torch.device) -> Tensor:
    """Move the step count of a group or a parameter to the device, and return it."""
    step = where.get("step", 0)
    if not isinstance(step, Tensor):
        if tables.capturing(home):
            raise RuntimeError(
                "a captured step needs step counts on the device, where the first step after "
                "building or loading moves them; take one step before the capture"
            )
        where["step"] = step = torch.full((), step, dtype=torch.int64, device=home)
    return step


def _prelude(optimizer: RuleOptimizer, begun: Sequence[Begun]) -> Prelude | None:
    """Return the launch for a step, or None if a formula cannot be noted for the device."""
    from autotune.kernels.triton import prelude

    noted = [tape.noted(optimizer, group.ready.plain, group.ready.rule) for group in begun]
    rates: list[Tensor] = [group.rate for group in begun]
    programs = prelude.Programs()
    for group, rate, own in zip(begun, rates, noted, strict=True):
        if own is None or rate.dtype not in prelude.READABLE:
            return None
        programs.add(*own, rate, group.counters, len(group.held), group.ready.share)
    params = [now for group in begun for _, now, _ in group.ready.found]
    precise = any(p.dtype is torch.float64 for p in params)
    dithered = any(group.ready.rule.dithered for group in begun)
    return programs.prelude(
        compute=torch.float64 if precise else torch.float32,
        order=_order(optimizer, begun) if dithered else (),
        limit=optimizer.max_grad_norm,
        eps=optimizer.clip_eps(),
        overflow=getattr(optimizer, "found_inf", None),
    )


def _order(optimizer: RuleOptimizer, begun: Sequence[Begun]) -> list[int]:
    """Return the number that each parameter has in the optimizer."""
    order = {p: i for i, p in enumerate(optimizer.parameters())}
    return [order[p] for group in begun for p, _, _ in group.ready.found]


def _shared_rows(begun: Sequence[Begun], prelude: Prelude) -> dict[Rule, list[Update]]:
    """Return updates by rule; those of a rule share a table of rows and one of keys."""
    work: dict[Rule, list[Update]] = {}
    element = row = 0
    for rule in dict.fromkeys(group.ready.rule for group in begun):
        groups = [group for group in begun if group.ready.rule == rule]
        count, width = sum(len(group.held) for group in groups), len(rule.scalars)
        rows = prelude.rows[element : element + count * width].view(count, width)
        keys: Key = prelude.keys[row : row + count] if rule.dithered else 0
        element, row = element + count * width, row + count
        work[rule] = [
            Update(now, g, kept, rows, keys)
            for group in groups
            for (_, now, g), kept in zip(group.ready.found, group.held, strict=True)
        ]
    return work


def _by_operators(optimizer: RuleOptimizer, group: Begun) -> list[Update]:
    """Count a group's step, and return its updates, whose rows operators compute."""
    ready, params = group.ready, [p for p, _, _ in group.ready.found]
    steps = _counted(optimizer, ready.group, group.counters)
    plain = {**ready.plain, "lr": group.rate.reshape(()).double()}
    rows = {
        first: _rows(optimizer, plain, ready.rule, steps, first, ready.share)
        for first in set(group.fresh)
    }
    keys: Sequence[Key] = [0] * len(params)
    if ready.rule.dithered:
        keys = _keys(optimizer, steps, params)
    last = len(steps) - 1
    lines = [rows[first][min(i, last)] for i, first in enumerate(group.fresh)]
    return [
        Update(now, g, kept, line, key)
        for (_, now, g), kept, line, key in zip(ready.found, group.held, lines, keys, strict=True)
    ]


def _counted(optimizer: RuleOptimizer, group: Group, counters: Sequence[Tensor]) -> Tensor:
    """Count a step unless there is overflow; return the group's count, or each parameter's."""
    overflow: Tensor | None = getattr(optimizer, "found_inf", None)
    taken = None if overflow is None else (overflow.reshape(()) == 0).long()
    if optimizer.shared_clock:
        return counters[0].add_(1 if taken is None else taken).reshape(1)
    if not counters:
        return torch.empty(0, dtype=torch.int64, device=group["params"][0].device)
    # A list, as for a single tensor torch may copy its value to the host.
    torch._foreach_add_(list(counters), 1 if taken is None else [taken] * len(counters))
    return torch.stack(list(counters))


def _rows(
    optimizer: RuleOptimizer,
    group: Group,
    rule: Rule,
    steps: Tensor,
    fresh: int,
    share: Tensor | None,
) -> tuple[Tensor, ...]:
    """Return a row of scalars for each step."""
    values = scalars.row(optimizer, group, rule, steps.double(), fresh, group["lr"], share)
    fixed = np.array([0.0 if isinstance(v, Tensor) else v for v in values], dtype=np.float64)
    numbers = table(fixed.tobytes(), torch.float64, place(steps.device)).unbind()
    columns = [v if isinstance(v, Tensor) else n for v, n in zip(values, numbers, strict=True)]
    return torch.stack([column.expand(len(steps)) for column in columns], dim=1).unbind()


def _keys(optimizer: RuleOptimizer, steps: Tensor, params: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the key of each parameter's random numbers at this step."""
    order = {p: i for i, p in enumerate(optimizer.parameters())}
    numbers = np.array([order[p] for p in params], dtype=np.int64)
    return ((steps << 32) + table(numbers.tobytes(), torch.int64, place(steps.device))).unbind()
