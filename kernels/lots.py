"""Which tensors of a step share a launch, and where they are.

How each lies is compared with the step before; what cannot be walked as one flat block is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autotune.kernels.chunks import Cut, Ints, cut, place, sent
from autotune.kernels.eager import precision
from autotune.kernels.layout import copied, dense, lies_like
from autotune.kernels.rule import Update

_WALKED = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_GRADIENT = 1  # its place among a tensor's roles: parameter, gradient, buffers

Dtypes = tuple[torch.dtype, ...]
Copies = list[tuple[Tensor, Tensor]]  # where to bring it afterwards, and what


class Group(NamedTuple):
    """Updates of one device and one combination of dtypes."""

    device: torch.device
    dtypes: Dtypes  # of parameter, gradient and buffers
    compute: torch.dtype
    members: Ints  # indices among all updates
    sizes: Ints


class Lot(NamedTuple):
    """A group, and its tables on its device."""

    device: torch.device
    dtypes: Dtypes
    compute: torch.dtype
    size: int  # tensors
    cut: Cut
    table: Tensor  # addresses of parameter and buffers, a line a tensor
    grads: Tensor  # addresses of gradients
    rows: Tensor  # scalars, a line a tensor, in the precision of the step


class Gradients(NamedTuple):
    """Gradients of one device and one dtype, and their tables there."""

    device: torch.device
    dtype: torch.dtype
    cut: Cut
    grads: Tensor  # their addresses


def lots(updates: Sequence[Update]) -> tuple[list[Lot], Copies]:
    """Return what to launch, and the copies it works on."""
    params, grads, states, rows = zip(*updates, strict=True)
    tensors = [*params, *grads, *chain.from_iterable(zip(*states, strict=True))]
    plan = _plan(tuple(map(id, params)))
    addresses = plan.fit(tensors, len(params))
    copies = plan.borrow(tensors, addresses)
    lines = _lines(rows)
    return [_lot(group, addresses, lines) for group in plan.groups], copies


def _lot(group: Group, addresses: Ints, lines: NDArray[np.float64]) -> Lot:
    where, own = place(group.device), addresses[:, group.members]
    rows = lines[group.members].astype(str(group.compute).removeprefix("torch."))
    return Lot(
        device=group.device,
        dtypes=group.dtypes,
        compute=group.compute,
        size=len(group.members),
        cut=cut(group.sizes, own, where),
        table=sent(np.delete(own, _GRADIENT, axis=0).T.tobytes(), torch.int64, where),
        grads=sent(own[_GRADIENT].tobytes(), torch.int64, where),
        rows=sent(rows.tobytes(), group.compute, where),
    )


def _lines(rows: Sequence[tuple[float, ...]]) -> NDArray[np.float64]:
    """Return a line of scalars a tensor; most share one tuple."""
    distinct = dict(zip(map(id, rows), rows, strict=True))
    index = {identity: i for i, identity in enumerate(distinct)}
    return np.array(list(distinct.values()))[[index[id(row)] for row in rows]]


class Plan:
    """How tensors are grouped, and which are copied; good while all lie where and as they do."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.odd: list[int] = []  # indices of those to copy, a parameter before what goes with it
        self.facts: Any = None
        self.fixed: Ints = np.empty(0, dtype=np.int64)

    def fit(self, tensors: list[Tensor], count: int) -> Ints:
        """Return all addresses, by role and tensor, after planning anew if anything changed.

        Gradients may be elsewhere at every step; how they lie is compared, as for all others.
        """
        addresses = np.fromiter(map(Tensor.data_ptr, tensors), np.int64, len(tensors))
        addresses = addresses.reshape(-1, count)
        fixed = np.delete(addresses, _GRADIENT, axis=0)
        facts = [list(map(fact, tensors)) for fact in _FACTS]
        if facts != self.facts or not np.array_equal(fixed, self.fixed):
            self.facts = None
            self._arrange(tensors, count)
            self.facts, self.fixed = facts, fixed
        return addresses

    def _arrange(self, tensors: list[Tensor], count: int) -> None:
        self.odd = []
        members: dict[tuple[torch.device, Dtypes, torch.dtype], list[int]] = {}
        for t in range(count):
            p, own = tensors[t], tensors[t::count]
            dtypes = tuple([_walked(tensor, p) for tensor in own])
            members.setdefault((_device(own), dtypes, precision(p)), []).append(t)
            home = p if dense(p) else torch.empty_like(p, device="meta")
            for role, (tensor, dtype) in enumerate(zip(own, dtypes, strict=True)):
                if tensor.dtype is not dtype or not lies_like(tensor, home):
                    self.odd.append(role * count + t)
        self.groups = [
            Group(*key, np.array(own), np.array([tensors[t].numel() for t in own]))
            for key, own in members.items()
        ]

    def borrow(self, tensors: list[Tensor], addresses: Ints) -> Copies:
        """Copy what cannot be walked, and let the addresses be the copies'."""
        copies: Copies = []
        count, homes = addresses.shape[1], dict[int, Tensor]()
        for spot in self.odd:
            role, t = divmod(spot, count)
            tensor, p = tensors[spot], tensors[t]
            copy = copied(tensor, homes.get(t, p), _walked(tensor, p))
            if role == 0:
                homes[t] = copy
            addresses[role, t] = copy.data_ptr()
            copies.append((copy if role == _GRADIENT else tensor, copy))
        return copies


_FACTS: Any = (attrgetter("dtype"), attrgetter("shape"), Tensor.stride)


@lru_cache(maxsize=64)
def _plan(params: tuple[int, ...]) -> Plan:
    """Return what was planned for parameters of these identities, or for others before them."""
    return Plan()


def _walked(tensor: Tensor, p: Tensor) -> torch.dtype:
    """Return the dtype a tensor is walked in: its own where a kernel can read that."""
    return tensor.dtype if tensor.dtype in _WALKED else precision(p)


def _device(own: list[Tensor]) -> torch.device:
    p = own[0]
    for tensor in own:
        if tensor.device != p.device:
            raise ValueError(
                f"state must be where its parameter is, on {p.device}, got it on {tensor.device}; "
                "move the model before its optimizer is made or loaded"
            )
    return p.device


def gradients(grads: Sequence[Tensor]) -> tuple[list[Gradients], list[Tensor]]:
    """Return what to launch to read gradients, and what has to live until then."""
    flat = [g if g.dtype in _WALKED and dense(g) else copied(g, g, precision(g)) for g in grads]
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for g in flat:
        groups.setdefault((g.device, g.dtype), []).append(g)
    return [_gradients(*key, group) for key, group in groups.items()], flat


def _gradients(device: torch.device, dtype: torch.dtype, grads: list[Tensor]) -> Gradients:
    where, count = place(device), len(grads)
    addresses = np.fromiter(map(Tensor.data_ptr, grads), np.int64, count)
    sizes = np.fromiter(map(Tensor.numel, grads), np.int64, count)
    table = sent(addresses.tobytes(), torch.int64, where)
    return Gradients(device, dtype, cut(sizes, addresses, where), table)
