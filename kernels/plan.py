"""Group the tensors of a step by device and dtypes, and find their addresses.

A plan is used again until a layout changes. A tensor that is not one flat block is copied, and so
is one whose values its memory does not show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autotune.kernels.addresses import absent, addresses, check_written_and_read, lazy, refuse
from autotune.kernels.layout import Ints, copied, dense, lies_like, precision
from autotune.kernels.rule import Update

_FEW = 4  # parameters of a small plan
GRADIENT = 1  # its place among a tensor's roles: parameter, gradient, buffers

Dtypes = tuple[torch.dtype, ...]
Copies = list[tuple[Tensor, Tensor]]  # tensor to write afterwards, and its copy
Lines = NDArray[np.float64] | Tensor  # scalars, a row for each tensor
Numbers = tuple[int, ...] | Ints | Tensor  # keys of random numbers, one for each tensor
ReadAs = Callable[[Tensor, Tensor], torch.dtype]  # dtype to read a tensor in, given its parameter


class Group(NamedTuple):
    """Updates of one device and one combination of dtypes."""

    device: torch.device
    dtypes: Dtypes  # of parameter, gradient and buffers
    compute: torch.dtype
    members: Ints  # indices among all updates
    sizes: Ints


class Planned(NamedTuple):
    """The updates of a step, in groups."""

    groups: list[Group]
    addresses: Ints  # by role and tensor
    rows: Lines
    keys: Numbers
    copies: Copies


def planned(updates: Sequence[Update], read_as: ReadAs) -> Planned:
    """Return updates in groups; tensors of the wrong layout or dtype are copied."""
    params, grads, states, rows, keys = zip(*updates, strict=True)
    tensors = [*params, *grads, *chain.from_iterable(zip(*states, strict=True))]
    plan = (_small_plan if len(params) <= _FEW else _plan)(tuple(map(id, params)), read_as)
    places = plan.fit(tensors, len(params))
    copies = plan.borrow(tensors, places)
    if isinstance(rows[0], tuple):
        return Planned(plan.groups, places, _lines(rows), keys, copies)
    if isinstance(rows[0], Tensor):
        known = _table(keys, 1) if isinstance(keys[0], Tensor) else keys
        return Planned(plan.groups, places, _table(rows, 2), known, copies)
    stacked = Planned(plan.groups, places, np.concatenate(rows), keys, copies)
    return _unstacked(stacked, len(rows[0]))


def _unstacked(found: Planned, count: int) -> Planned:
    """Return stacks of ``count`` replicas as separate tensors, next to each other."""
    places = np.empty((*found.addresses.shape, count), dtype=np.int64)
    spread = []
    for group in found.groups:
        sizes, bytes_ = group.sizes // count, np.array([dtype.itemsize for dtype in group.dtypes])
        strides = bytes_[:, None, None] * sizes[:, None] * np.arange(count)
        places[:, group.members] = found.addresses[:, group.members, None] + strides
        members = group.members[:, None] * count + np.arange(count)
        spread.append(group._replace(members=members.reshape(-1), sizes=np.repeat(sizes, count)))
    one = isinstance(found.keys[0], int)
    keys = np.repeat(found.keys, count) if one else np.concatenate(found.keys)
    return found._replace(groups=spread, addresses=places.reshape(len(places), -1), keys=keys)


def _table(lines: Sequence[Tensor], dimensions: int) -> Tensor:
    """Return a line for each tensor, which they may share already."""
    return lines[0] if lines[0].ndim == dimensions else torch.stack(list(lines))


def bring_back(copies: Copies) -> None:
    """Write copies back to the tensors they were made for."""
    for tensor, copy in copies:
        if tensor is not copy:
            tensor.copy_(copy)


def _lines(rows: Sequence[tuple[float, ...]]) -> NDArray[np.float64]:
    """Return a row of scalars for each tensor; most tensors share one tuple."""
    if len(set(map(id, rows))) == 1:
        return np.broadcast_to(np.array(rows[0]), (len(rows), len(rows[0])))
    distinct = dict(zip(map(id, rows), rows, strict=True))
    index = {identity: i for i, identity in enumerate(distinct)}
    return np.array(list(distinct.values()))[[index[id(row)] for row in rows]]


@lru_cache(maxsize=64)
def _plan(params: tuple[int, ...], read_as: ReadAs) -> Plan:
    """Return the plan for parameters with these ids; ``fit`` tells if it is still valid."""
    return Plan(read_as)


@lru_cache(maxsize=1024)
def _small_plan(params: tuple[int, ...], read_as: ReadAs) -> Plan:
    """Return a plan as ``_plan`` does; a model with an optimizer for each parameter uses many."""
    return Plan(read_as)


class Plan:
    """How tensors are grouped, and which are copied; valid until a tensor changes."""

    def __init__(self, read_as: ReadAs) -> None:
        self.read_as = read_as
        self.groups: list[Group] = []
        # Indices of tensors to copy; a parameter comes before its gradient and buffers.
        self.odd: list[int] = []
        self.facts: Any = None

    def fit(self, tensors: list[Tensor], count: int) -> Ints:
        """Return all addresses, by role and tensor; plan again if anything has changed.

        Gradients may have new addresses at every step: only their layout is compared.
        """
        places = addresses(tensors)
        lost = absent(places, tensors)
        places = places.reshape(-1, count)
        facts = [_fixed(places), lost, *_facts(tensors, count)]
        if facts != self.facts:
            self.facts = None
            self._arrange(tensors, count)
            grads = range(GRADIENT * count, (GRADIENT + 1) * count)
            check_written_and_read(tensors, lost, read=grads)
            self.facts = facts
        return places

    def _arrange(self, tensors: list[Tensor], count: int) -> None:
        self.odd = []
        members: dict[tuple[torch.device, Dtypes, torch.dtype], list[int]] = {}
        for t in range(count):
            p, own = tensors[t], tensors[t::count]
            if p.is_nested:
                refuse(p)
            dtypes = tuple([self.read_as(tensor, p) for tensor in own])
            members.setdefault((_device(own), dtypes, precision(p)), []).append(t)
            home = p if dense(p) else torch.empty_like(p, device="meta")
            for role, (tensor, dtype) in enumerate(zip(own, dtypes, strict=True)):
                if tensor.dtype is not dtype or lazy(tensor) or not lies_like(tensor, home):
                    self.odd.append(role * count + t)
        self.groups = [
            Group(*key, np.array(own), np.array([tensors[t].numel() for t in own]))
            for key, own in members.items()
        ]

    def borrow(self, tensors: list[Tensor], places: Ints) -> Copies:
        """Copy tensors that are not one flat block, and put in the addresses of the copies."""
        copies: Copies = []
        count, homes = places.shape[1], dict[int, Tensor]()
        for spot in self.odd:
            role, t = divmod(spot, count)
            tensor, p = tensors[spot], tensors[t]
            copy = copied(tensor, homes.get(t, p), self.read_as(tensor, p))
            if role == 0:
                homes[t] = copy
            places[role, t] = copy.data_ptr()
            copies.append((copy if role == GRADIENT else tensor, copy))
        return copies


_DTYPE = attrgetter("dtype")


def _fixed(places: Ints) -> bytes:
    """Return the addresses of parameters and buffers."""
    return places[:GRADIENT].tobytes() + places[GRADIENT + 1 :].tobytes()


def _facts(tensors: list[Tensor], count: int) -> list[list[Any]]:
    """Return what layouts depend on; strides only for tensors that are not contiguous.

    What is asked of each tensor takes a good part of a step. So a gradient is not asked for its
    size, which is its parameter's, nor a buffer for its sign, which it has since it was planned.
    """
    sizes = list(map(Tensor.numel, [*tensors[:count], *tensors[2 * count :]]))
    signs = list(map(Tensor.is_neg, tensors[: 2 * count]))
    dtypes, in_order = list(map(_DTYPE, tensors)), list(map(Tensor.is_contiguous, tensors))
    strides: list[Any] = []
    if not all(in_order):
        strides = [t.stride() for t, flat in zip(tensors, in_order, strict=True) if not flat]
    return [sizes, signs, dtypes, in_order, strides]


def _device(own: list[Tensor]) -> torch.device:
    p = own[0]
    for tensor in own:
        if tensor.device != p.device:
            raise ValueError(
                f"state must be where its parameter is, on {p.device}, got it on {tensor.device}; "
                "move the model before its optimizer is made or loaded"
            )
    return p.device
