"""Parameters cut across processes: each steps its own piece, and norms are completed among them.

These are DTensors, as ``fully_shard`` makes them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from autotune.kernels.rule import Key, Row, Update

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


def local(p: Any, g: Any, state: Sequence[Any], row: Row, key: Key = 0) -> Update:
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
