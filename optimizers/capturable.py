"""Steps that a CUDA graph can capture: everything that changes between steps is on the device.

Step counts are tensors that a step increments, the learning rate is a tensor that a schedule fills,
and scalars are computed from them on the device. So a replay does what a step would do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from autotune.kernels import backends
from autotune.kernels.rule import Key, Rule, Update
from autotune.kernels.triton import tables
from autotune.kernels.triton.tables import place, table
from autotune.optimizers import buffers, scalars
from autotune.optimizers.check import holds_tensor
from autotune.optimizers.sharded import is_sharded, piece

if TYPE_CHECKING:
    from autotune.optimizers.base import Group, RuleOptimizer

Found = Sequence[tuple[Tensor, Tensor, Tensor]]  # parameter, tensor with its values, gradient


def refuse_capture(optimizer: RuleOptimizer) -> None:
    """Refuse capture without ``capturable``: each replay would repeat the same step."""
    params = optimizer.tensors
    if params and not optimizer.capturable and tables.capturing(params[0].device):
        raise RuntimeError(
            "a captured step must count steps on the device, got one that counts on the host; "
            f"build {type(optimizer).__name__} with capturable=True"
        )


def check(optimizer: RuleOptimizer, group: Group) -> None:
    """Refuse a group that a CUDA graph cannot step."""
    homes = {p.device: p for p in [*optimizer.parameters(), *group["params"]]}
    if len(homes) > 1:
        raise ValueError(
            "capturable=True takes parameters of one device, got some on "
            f"{' and on '.join(sorted(map(str, homes)))}; make an optimizer for each"
        )
    for home, p in homes.items():
        used = backends.choose(optimizer.backend, piece(p))
        if used != "triton":
            raise ValueError(
                f"capturable=True needs backend 'triton', '{used}' runs parameters on {home}; "
                "leave it off"
            )
    if any(map(is_sharded, group["params"])):
        raise ValueError("capturable=True takes no DTensors, got one; leave it off")
    for name in optimizer.defaults:
        if name != "lr" and holds_tensor(group.get(name)):
            raise ValueError(
                f"{name} must be a number under capturable=True, got a tensor; "
                "only lr is read from the device"
            )
    lr = group["lr"]
    if isinstance(lr, Tensor) and lr.device not in homes:
        raise ValueError(
            f"lr must be on {next(iter(homes))}, where a graph reads it, got it on {lr.device}; "
            "move it, or give a number"
        )


def place_rate(group: Group) -> None:
    """Move a group's learning rate to the device, as a tensor."""
    lr = group["lr"]
    if group["params"] and not isinstance(lr, Tensor):
        home = group["params"][0].device
        if tables.capturing(home):
            raise RuntimeError(
                f"lr must stay a tensor while a graph is captured, got {lr:g}; "
                f"write group['lr'].fill_({lr:g})"
            )
        group["lr"] = torch.full((), float(lr), dtype=torch.float64, device=home)


def updates(
    optimizer: RuleOptimizer, group: Group, plain: Group, rule: Rule, found: Found
) -> list[Update]:
    """Count a group's step, and return its updates.

    Args:
        optimizer: The optimizer of the group.
        group: The group, with its step count and learning rate on the device.
        plain: The same group, with hyper-parameters as numbers.
        rule: The rule that steps the group.
        found: The parameters with a gradient.
    """
    params = [p for p, _, _ in found]
    _refuse_to_begin(optimizer, rule, params)
    states = [optimizer.state[p] for p in params]
    held, fresh = buffers.held(optimizer, rule, params, [now for _, now, _ in found], states)
    steps = _counted(optimizer, group, params)
    place_rate(group)
    plain = {**plain, "lr": group["lr"].reshape(()).double()}
    rows = {first: _rows(optimizer, plain, rule, steps, first) for first in set(fresh)}
    keys: Sequence[Key] = [0] * len(found)
    if rule.dithered:
        keys = _keys(optimizer, steps, params)
    last = len(steps) - 1
    lines = [rows[first][min(i, last)] for i, first in enumerate(fresh)]
    return [
        Update(now, g, kept, line, key)
        for (_, now, g), kept, line, key in zip(found, held, lines, keys, strict=True)
    ]


def _refuse_to_begin(optimizer: RuleOptimizer, rule: Rule, params: Sequence[Tensor]) -> None:
    """Refuse to create state while a graph is captured."""
    capturing = bool(params) and tables.capturing(params[0].device)
    if capturing and not all(buffers.settled(optimizer.state[p], rule) for p in params):
        raise RuntimeError(
            "a captured step cannot create or convert state, as every replay would repeat it; "
            "take a step with the same gradients before the capture"
        )


def _counted(optimizer: RuleOptimizer, group: Group, params: Sequence[Tensor]) -> Tensor:
    """Count a step unless there is overflow; return the group's count, or each parameter's."""
    overflow: Tensor | None = getattr(optimizer, "found_inf", None)
    taken = None if overflow is None else (overflow.reshape(()) == 0).long()
    home = group["params"][0].device
    if optimizer.shared_clock:
        return _counter(group, home).add_(1 if taken is None else taken).reshape(1)
    counters = [_counter(optimizer.state[p], home) for p in params]
    if not counters:
        return torch.empty(0, dtype=torch.int64, device=home)
    # A list, as for a single tensor torch may copy its value to the host.
    torch._foreach_add_(counters, 1 if taken is None else [taken] * len(counters))
    return torch.stack(counters)


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


def _rows(
    optimizer: RuleOptimizer, group: Group, rule: Rule, steps: Tensor, fresh: bool
) -> tuple[Tensor, ...]:
    """Return a row of scalars for each step."""
    values = scalars.row(optimizer, group, rule, steps.double(), fresh)
    fixed = np.array([0.0 if isinstance(v, Tensor) else v for v in values], dtype=np.float64)
    numbers = table(fixed.tobytes(), torch.float64, place(steps.device)).unbind()
    columns = [v if isinstance(v, Tensor) else n for v, n in zip(values, numbers, strict=True)]
    return torch.stack([column.expand(len(steps)) for column in columns], dim=1).unbind()


def _keys(optimizer: RuleOptimizer, steps: Tensor, params: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the key of each parameter's random numbers at this step."""
    order = {p: i for i, p in enumerate(optimizer.parameters())}
    numbers = np.array([order[p] for p in params], dtype=np.int64)
    return ((steps << 32) + table(numbers.tobytes(), torch.int64, place(steps.device))).unbind()


def write_out(saved: dict[str, Any]) -> None:
    """Replace the tensors lr and step of a checkpoint by numbers, which any optimizer loads."""
    for group in saved["param_groups"]:
        for name in ("lr", "step"):
            if isinstance(group.get(name), Tensor):
                group[name] = group[name].item()
    numbers = {i for group in saved["param_groups"] for i in group["params"]}
    own = {i: kept for i, kept in saved["state"].items() if i in numbers}
    counted = {i: kept["step"] for i, kept in own.items() if "step" in kept}
    held = [step for step in counted.values() if isinstance(step, Tensor)]
    values = iter(torch.stack(held).tolist() if held else [])
    told = {i: next(values) if isinstance(s, Tensor) else s for i, s in counted.items()}
    saved["state"] = {
        i: {**kept, "step": told[i]} if i in told else kept for i, kept in saved["state"].items()
    }
