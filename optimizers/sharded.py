"""Parameters cut across processes: each steps its own piece, and norms are completed among them.

These are DTensors, as ``fully_shard`` makes them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autotune.kernels.rule import Update

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

# The mesh a parameter lies on, and the dimensions of it that hold different pieces.
Span = tuple["DeviceMesh", tuple[int, ...]]


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


def beside(p: Any, g: Any) -> Tensor:
    """Return what this process has of a gradient, cut as its parameter is."""
    if is_cut(g) and g.placements != p.placements:
        g = g.redistribute(placements=p.placements)
    return piece(g)


def local(p: Tensor, update: Update) -> Update:
    """Return the update of this process's piece of a DTensor."""
    now, g, state, row, key = update
    return Update(piece(now), beside(p, g), tuple([piece(t) for t in state]), row, key)


def completed(squares: Tensor, where: Span) -> Tensor:
    """Return sums of squares over all pieces; every process of the mesh must ask."""
    mesh, cut = where
    total = squares.to(mesh.device_type, copy=True)
    for dim in cut:
        torch.distributed.all_reduce(total, group=mesh.get_group(dim))
    return total
