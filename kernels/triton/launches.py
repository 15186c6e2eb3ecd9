"""Which tensors of a step share a launch, and the tables on their device that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from autotune.kernels.addresses import flat, of_each
from autotune.kernels.layout import Ints, precision
from autotune.kernels.plan import (
    GRADIENT,
    Copies,
    Dtypes,
    Group,
    Lines,
    Numbers,
    Planned,
    planned,
)
from autotune.kernels.rule import Rule, Update
from autotune.kernels.triton.tables import Cut, Place, cut, place, table

_READABLE = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


class LaunchGroup(NamedTuple):
    """Tensors that one launch steps, and their tables on the device."""

    device: torch.device
    dtypes: Dtypes
    compute: torch.dtype
    size: int  # tensors
    members: Ints  # their indices among all updates
    cut: Cut
    table: Tensor  # addresses of parameter and buffers, a row for each tensor
    grads: Tensor  # addresses of gradients
    rows: Tensor  # scalars, a row for each tensor, in the precision of the step
    keys: Tensor | None  # of random numbers, one for each tensor


class Gradients(NamedTuple):
    """Gradients of one device and one dtype, and their tables there."""

    device: torch.device
    dtype: torch.dtype
    cut: Cut
    grads: Tensor  # their addresses


def launch_groups(rule: Rule, updates: Sequence[Update]) -> tuple[list[LaunchGroup], Copies]:
    """Return the launch_groups of a step, and the copies they work on."""
    found = planned(updates, _read_as)
    ready = [_launch_group(group, found, bool(rule.dithered)) for group in found.groups]
    return ready, found.copies


def _read_as(tensor: Tensor, p: Tensor) -> torch.dtype:
    """Return the dtype in which a kernel reads a tensor: its own if it can."""
    return tensor.dtype if tensor.dtype in _READABLE else precision(p)


def _launch_group(group: Group, found: Planned, dithered: bool) -> LaunchGroup:
    where, own = place(group.device), found.addresses[:, group.members]
    return LaunchGroup(
        device=group.device,
        dtypes=group.dtypes,
        compute=group.compute,
        size=len(group.members),
        members=group.members,
        cut=cut(group.sizes, own, where),
        table=table(np.delete(own, GRADIENT, axis=0).T.tobytes(), torch.int64, where),
        grads=table(own[GRADIENT].tobytes(), torch.int64, where),
        rows=_rows(group, found.rows, where),
        keys=_keys(group, found.keys, where) if dithered else None,
    )


def _rows(group: Group, rows: Lines, where: Place) -> Tensor:
    """Return a group's rows on its device, in the precision of the step."""
    if isinstance(rows, Tensor):
        return _members(group, rows, where).to(group.compute).contiguous()
    own = rows[group.members].astype(str(group.compute).removeprefix("torch."))
    return table(own.tobytes(), group.compute, where)


def _keys(group: Group, keys: Numbers, where: Place) -> Tensor:
    """Return a group's keys on its device."""
    if isinstance(keys, Tensor):
        return _members(group, keys, where)
    return table(np.array(keys)[group.members].tobytes(), torch.int64, where)


def _members(group: Group, lines: Tensor, where: Place) -> Tensor:
    """Return a group's rows of a tensor that is on the device already."""
    if len(group.members) == len(lines):
        return lines
    return lines[table(group.members.tobytes(), torch.int64, where)]


def gradients(grads: Sequence[Tensor]) -> tuple[list[Gradients], list[Tensor]]:
    """Return gradients by device and dtype, and the tensors to keep until they are read."""
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for g in grads:
        groups.setdefault((g.device, _read_as(g, g)), []).append(g)
    alive: list[Tensor] = []
    return [_gradients(*key, group, alive) for key, group in groups.items()], alive


def gradients_of_each(stacks: Sequence[Tensor], count: int) -> Gradients | None:
    """Return the gradients of each replica after those of the one before.

    None if a stack cannot be read where it is.
    """
    known = of_each(stacks, count) if _read_as(stacks[0], stacks[0]) is stacks[0].dtype else None
    if known is None or len({g.device for g in stacks}) > 1:
        return None
    places, sizes = known
    where = place(stacks[0].device)
    listed = table(places.tobytes(), torch.int64, where)
    sizes = np.tile(sizes, count)
    return Gradients(where.device, stacks[0].dtype, cut(sizes, places.reshape(-1), where), listed)


def _gradients(
    device: torch.device, dtype: torch.dtype, grads: list[Tensor], alive: list[Tensor]
) -> Gradients:
    lying, places = flat(grads, dtype)
    alive += lying
    where, sizes = place(device), np.fromiter(map(Tensor.numel, lying), np.int64, len(lying))
    listed = table(places.tobytes(), torch.int64, where)
    return Gradients(device, dtype, cut(sizes, places, where), listed)
