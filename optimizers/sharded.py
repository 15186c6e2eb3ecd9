"""Parameters cut across processes: each steps its own piece, and norms are completed among them.

These are DTensors, as ``fully_shard`` makes them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autotune.kernels import norms
from autotune.kernels.eager import precision
from autotune.kernels.lang import plain
from autotune.kernels.rule import Key, Rows, Rule, Update

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

# The mesh a parameter lies on, and the dimensions of it that hold different pieces.
Span = tuple["DeviceMesh", tuple[int, ...]]

_TINY = sys.float_info.min


def is_cut(tensor: Tensor) -> bool:
    """Whether a tensor is a DTensor; where none can exist, their code is not loaded."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def span(p: Any) -> Span:
    """Return where the pieces of a DTensor are."""
    cut = tuple(i for i, placement in enumerate(p.placements) if not placement.is_replicate())
    return p.device_mesh, cut


def piece(tensor: Any) -> Tensor:
    """Return what this process has of a tensor."""
    own: Tensor = tensor.to_local() if is_cut(tensor) else tensor
    return own


def local(
    p: Any, g: Any, state: Sequence[Any], row: tuple[float, ...] | Rows, key: Key = 0
) -> Update:
    """Return the update of this process's piece."""
    if g.placements != p.placements:
        g = g.redistribute(placements=p.placements)
    return Update(p.to_local(), g.to_local(), tuple([t.to_local() for t in state]), row, key)


def completed(squares: Tensor, where: Span) -> Tensor:
    """Return sums of squares over all pieces; every process of the mesh must ask."""
    mesh, cut = where
    total = squares.to(mesh.device_type, copy=True)
    for dim in cut:
        torch.distributed.all_reduce(total, group=mesh.get_group(dim))
    return total


def adapted(
    rule: Rule, updates: Sequence[Update], clip: Tensor | None, where: Span
) -> tuple[Rule, list[Update]]:
    """Return a rule that scales nothing, and updates whose learning rates hold the trust ratios.

    An application knows the update, and the decay, only times the learning rate.
    """
    sizes = torch.stack([_squares(rule, update, clip) for update in updates])
    ratio = plain(norms.ratio)
    trusts = [
        ratio(p_norm, u_norm, update.row[-1])
        for update, (p_norm, u_norm) in zip(
            updates, completed(sizes, where).sqrt().tolist(), strict=True
        )
    ]
    scaled = [
        update._replace(row=_scaled(rule, update.row, trust))
        for update, trust in zip(updates, trusts, strict=True)
    ]
    return Rule(direction=rule.direction, application=rule.application), scaled


def _squares(rule: Rule, update: Update, clip: Tensor | None) -> Tensor:
    """Return the sums of squares of a piece of the parameter and of its update."""
    dtype = precision(update.p)
    p, g = update.p.to(dtype), update.g.to(dtype)
    if clip is not None:
        g = g * clip.to(g.device)
    state = tuple([t.to(dtype) for t in update.state[: len(rule.direction.buffers)]])
    scalars = update.row[: len(rule.direction.scalars)]
    u, _ = plain(rule.direction.fn)(p, g, state, scalars)
    norm = torch.linalg.vector_norm
    return torch.stack([norm(p, dtype=torch.float64), norm(u, dtype=torch.float64)]).square()


def _scaled(rule: Rule, row: tuple[float, ...] | Rows, trust: float) -> tuple[float, ...]:
    first = len(rule.direction.scalars)
    by = {"lr": trust, "weight_decay": 1.0 / max(trust, _TINY)}
    applying = zip(rule.application.scalars, row[first:-1], strict=True)
    return (*row[:first], *(value * by.get(name, 1.0) for name, value in applying))
