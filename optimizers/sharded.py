"""Sharded parameters: DTensors, as ``fully_shard`` makes them.

Each process steps its own piece; norms are summed over the processes. A collective that is still
pending, as ``redistribute(async_op=True)`` leaves one, is waited for. FSDP's first version hands
out pieces that look like whole parameters: rules that need norms refuse them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from autotune.kernels.rule import Rule, Update

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from autotune.kernels.backends import Backend
    from autotune.optimizers.base import RuleOptimizer

# A parameter's device mesh, and the dimensions of the mesh that hold different pieces.
Span = tuple["DeviceMesh", tuple[int, ...]]

_DEVICE = attrgetter("device")
_WHOLE = {torch.nn.Parameter, Tensor}  # classes whose tensors are their own pieces
_WAY_OUT = "shard the model with torch.distributed.fsdp.fully_shard"


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is a DTensor; without their module loaded, there can be none."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def span(p: Any) -> Span:
    """Return the mesh of a DTensor, and the mesh dimensions that hold its pieces."""
    dims = tuple(i for i, placement in enumerate(p.placements) if not placement.is_replicate())
    return p.device_mesh, dims


def piece(tensor: Any) -> Tensor:
    """Return this process's piece of a tensor."""
    return waited(tensor.to_local() if is_sharded(tensor) else tensor)


def waited(tensor: Any) -> Tensor:
    """Return what a collective brings, or any other tensor itself."""
    module = sys.modules.get("torch.distributed._functional_collectives")
    if module is None or not isinstance(tensor, module.AsyncCollectiveTensor):
        return cast("Tensor", tensor)
    return cast("Tensor", tensor.trigger_wait())


def homes(params: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return one parameter of each device and class; of DTensors, this process's pieces.

    GradScaler asks for them at every step, so usual parameters are not asked one by one.
    """
    if set(map(type, params)) <= _WHOLE and len(set(map(_DEVICE, params))) == 1:
        return params[:1]
    return [*{(p.device, type(p)): p for p in map(piece, params)}.values()]


def beside(p: Any, g: Any) -> Tensor:
    """Return this process's piece of a gradient, sharded as its parameter is."""
    if not is_sharded(g):
        return waited(g)
    if g.device_mesh != p.device_mesh:
        raise ValueError(
            f"a gradient must be on its parameter's mesh {p.device_mesh}, got {g.device_mesh}; "
            "distribute it there"
        )
    if g.placements != p.placements:
        g = g.redistribute(placements=p.placements)
    return piece(g)


def local(p: Tensor, update: Update) -> Update:
    """Return the update of this process's piece of a DTensor."""
    now, g, state, row, key = update
    own, beside_it = piece(now), beside(p, g)
    if own.shape != beside_it.shape:
        raise ValueError(
            f"a gradient of a DTensor must be cut as it is, into {tuple(own.shape)} here, got "
            f"{tuple(beside_it.shape)}; distribute it with torch.distributed.tensor"
        )
    return Update(own, beside_it, tuple([piece(t) for t in state]), row, key)


def is_cut(p: Tensor) -> bool:
    """Whether a parameter is a DTensor of which other processes hold other pieces."""
    if not is_sharded(p):
        return False
    mesh, dims = span(p)
    return any(mesh.size(dim) > 1 for dim in dims)


class Inspected(NamedTuple):
    """An optimizer's parameters, and whether FSDP's first version or DTensors have some cut."""

    params: Sequence[Tensor]
    in_pieces: bool
    cut: bool


def pieces(params: Iterable[Tensor]) -> list[Tensor]:
    """Return the parameters that FSDP's first version has flattened and cut.

    It marks what it flattens. With NO_SHARD nothing is cut: then parameters keep their shapes, and
    one with two dimensions shows it of all in its storage.
    """
    flat = [p for p in params if getattr(p, "_fsdp_flattened", False)]
    whole = {p.untyped_storage().data_ptr() for p in flat if p.ndim > 1}
    return [p for p in flat if p.untyped_storage().data_ptr() not in whole]


def refuse_pieces(optimizer: RuleOptimizer) -> None:
    """Refuse what needs norms, or quantiles, of parameters or gradients that are in pieces."""
    params = optimizer.tensors
    if optimizer._inspected is None or optimizer._inspected.params is not params:
        optimizer._inspected = Inspected(params, bool(pieces(params)), any(map(is_cut, params)))
    if optimizer._inspected.cut or optimizer._inspected.in_pieces:
        _refuse_quantiles(optimizer)
    if not optimizer._inspected.in_pieces:
        return
    name = type(optimizer).__name__
    if any(optimizer.rule(group).shapings for group in optimizer.param_groups):
        raise ValueError(
            f"{name} needs the norm of each parameter, got pieces of FSDP's flat parameters; "
            f"{_WAY_OUT}"
        )
    if optimizer.max_grad_norm and not optimizer.norm_group:
        raise ValueError(
            f"max_grad_norm={optimizer.max_grad_norm:g} needs the norm of all gradients, got "
            f"pieces of FSDP's flat ones; {_WAY_OUT}, set norm_group to the processes that hold "
            "the pieces, or set max_grad_norm=0 and call FSDP's clip_grad_norm_"
        )


def _refuse_quantiles(optimizer: RuleOptimizer) -> None:
    """Refuse thresholds of tensors that are in pieces: no process has all of their elements."""
    for group in optimizer.param_groups:
        asked = [name for name in ("coord_clip", "update_clip") if group.get(name)]
        if asked and (any(map(is_cut, group["params"])) or pieces(group["params"])):
            raise ValueError(
                f"{asked[0]} needs all elements of a tensor, got pieces that several processes "
                "hold; leave it at 0, or clip by max_grad_norm instead"
            )


def sizes(
    run: Backend, rule: Rule, updates: Sequence[Update], clip: Tensor | None, where: Span
) -> Tensor | None:
    """Return what a rule's shapings measure of whole tensors, one after another.

    None if one is ranked: then each process has whole tensors, or ``refuse_pieces`` has refused.
    Every process of the mesh must call this.
    """
    if any(shaping.ranked for shaping in rule.shapings):
        return None
    found: Tensor | None = None
    for _ in rule.shapings:
        own = completed(run.sizes(rule, updates, clip, found), where)
        found = own if found is None else torch.cat([found, own], dim=1)
    return found


def completed(squares: Tensor, where: Span) -> Tensor:
    """Add up sums of squares over all pieces; every process of the mesh must call this."""
    mesh, dims = where
    total = squares.to(mesh.device_type, copy=True)
    for dim in dims:
        torch.distributed.all_reduce(total, group=mesh.get_group(dim))
    return total
