"""Steps that a CUDA graph can capture: everything that changes between steps is on the device.

Step counts are tensors that a step increments, the learning rate is a tensor that a schedule fills,
and on_device.py computes scalars from them there. So a replay does what a step would do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autotune.kernels import backends
from autotune.kernels.triton import tables
from autotune.optimizers import averaging
from autotune.optimizers.check import holds_tensor
from autotune.optimizers.scalars import MULTIPLIER
from autotune.optimizers.sharded import is_sharded, piece

if TYPE_CHECKING:
    from autotune.optimizers.base import Group, RuleOptimizer


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


def place_rate(group: Group, name: str = "lr") -> None:
    """Move a group's learning rate, or what multiplies it, to the device, as a tensor."""
    value = group[name]
    if group["params"] and not isinstance(value, Tensor):
        home = group["params"][0].device
        if tables.capturing(home):
            raise RuntimeError(
                f"{name} must stay a tensor while a graph is captured, got {value:g}; "
                f"write group['{name}'].fill_({value:g})"
            )
        group[name] = torch.full((), float(value), dtype=torch.float64, device=home)


def write_out(saved: dict[str, Any]) -> None:
    """Replace tensors as lr and step in a checkpoint by numbers, which any optimizer loads."""
    for group in saved["param_groups"]:
        for name in ("lr", MULTIPLIER, "step", *averaging.KEPT):
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
