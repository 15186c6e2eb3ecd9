"""The numba backend: a rule compiled for single numbers, run over a table of addresses.

One compiled function serves every tensor of a step, at memory speed on one thread. Scalars are
data, a row per tensor, so a schedule never recompiles. A tensor the loop cannot walk as it lies
(another layout or dtype than its parameter's, or gaps between elements) is copied in, and written
back.

Compiled code is not cached on disk: Numba's cache knows a function by the file it stands in,
and these are built from rules that may live anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any, cast

import numpy as np
import torch
from numba import njit, types
from numba.extending import intrinsic
from numba.np.unsafe import ndarray
from torch import Tensor
from torch.autograd.graph import increment_version

from autotune.kernels import norms
from autotune.kernels.eager import precision
from autotune.kernels.lang import Function, bind
from autotune.kernels.layout import copied, dense
from autotune.kernels.plan import bring_back, planned
from autotune.kernels.rule import Rule, Update

# Numba types it by what it is outside compiled code; inside, it takes an array and a length.
_fixed: Any = ndarray.to_fixed_tuple

# No flag here lets the compiler assume that NaN or infinity cannot occur.
_FAST = {"contract", "arcp", "nsz"}
_SUM = _FAST | {"reassoc"}

_ROLES = 16  # parameter, gradient and at most 14 buffers
_NUMBERS = {torch.float32: (np.float32, types.float32), torch.float64: (np.float64, types.float64)}

# Numba resolves attributes of modules only, so the language of single numbers is a module object.
_SCALAR = ModuleType("autotune.kernels.scalar")
_SCALAR.__dict__.update(
    sqrt=math.sqrt,
    abs=abs,
    where=njit(inline="always")(lambda condition, yes, no: yes if condition else no),
    maximum=njit(inline="always")(lambda a, b: a if a > b else b),
)


def scalar(rule: Function, dtype: torch.dtype) -> Any:
    """Return the rule compiled for single numbers of ``dtype``."""
    wrap = njit(inline="always", fastmath=_FAST, error_model="numpy")
    return bind(rule, _SCALAR, wrap, _NUMBERS[dtype][0])


def step(rule: Rule, updates: Sequence[Update], clip: Tensor | None) -> None:
    """Take one step; gradients count as multiplied by ``clip``, a number or one a replica."""
    factor = np.ones(1) if clip is None else clip.numpy().reshape(-1)
    found = planned(updates, _walked)
    for group in found.groups:
        number = _NUMBERS[group.compute][0]
        addresses = np.ascontiguousarray(found.addresses[:, group.members].T)
        rows = found.rows[group.members].astype(number)
        clips = np.resize(factor, len(rows)).astype(number)
        _compiled(rule, group.compute)(addresses, group.sizes, rows, clips)
    bring_back(found.copies)
    increment_version([update.p for update in updates])


def _walked(tensor: Tensor, p: Tensor) -> torch.dtype:
    """Return the dtype a tensor is walked in: that of the step, whatever its own."""
    return precision(p)


def _spot(builder: Any, number: Any, args: Any) -> Any:
    """Return the pointer to element ``args[1]`` of the numbers at the address ``args[0]``."""
    return builder.gep(builder.inttoptr(args[0], number.as_pointer()), [args[1]])


def _promise(module: Any, access: Any, role: int) -> None:
    """Tell the compiler that this access meets no other role's memory, so that it may vectorise."""
    domain = module.add_metadata(["autotune.kernels.table"])
    scopes = [module.add_metadata([f"role {i}", domain]) for i in range(_ROLES)]
    access.set_metadata("alias.scope", module.add_metadata([scopes[role]]))
    access.set_metadata("noalias", module.add_metadata(scopes[:role] + scopes[role + 1 :]))


@cache
def _load(role: int, number: Any) -> Any:
    """Return ``f(address, k)``: element k of the numbers at an address."""

    @intrinsic
    def load(typing: Any, address: Any, k: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = builder.load(_spot(builder, context.get_value_type(number), args))
            _promise(builder.module, value, role)
            return value

        return number(types.int64, types.int64), generate

    return load


@cache
def _store(role: int, number: Any) -> Any:
    """Return ``f(address, k, value)`` that writes element k of the numbers at an address."""

    @intrinsic
    def store(typing: Any, address: Any, k: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            spot = _spot(builder, context.get_value_type(number), args)
            _promise(builder.module, builder.store(args[2], spot), role)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, number), generate

    return store


def _loads(roles: Sequence[int], number: Any) -> Any:
    """Return ``f(addresses, k)``: element k of every role, as a tuple."""
    if not roles:
        return njit(inline="always")(lambda addresses, k: ())
    before, last, load = _loads(roles[:-1], number), roles[-1], _load(roles[-1], number)
    return njit(inline="always")(lambda a, k: (*before(a, k), load(a[last], k)))


def _stores(roles: Sequence[int], number: Any) -> Any:
    """Return ``f(addresses, k, values)`` that writes element k of every role."""
    if not roles:
        return njit(inline="always")(lambda addresses, k, values: None)
    before, last, store = _stores(roles[:-1], number), roles[-1], _store(roles[-1], number)
    nth = len(roles) - 1

    @njit(inline="always")
    def write(addresses: Any, k: Any, values: Any) -> None:
        before(addresses, k, values)
        store(addresses[last], k, values[nth])

    return write


@cache
def _compiled(rule: Rule, dtype: torch.dtype) -> Callable[..., None]:
    """Return the loop over a table; it releases the interpreter lock."""
    number = _NUMBERS[dtype][1]
    direction, apply = scalar(rule.direction.fn, dtype), scalar(rule.application.fn, dtype)
    first, more = len(rule.direction.scalars), len(rule.application.scalars)
    last, own = len(rule.buffers) + 2, len(rule.direction.buffers) + 2
    inputs = _loads((0, 1), number)
    kept_of, moved_of = _loads(range(2, own), number), _loads(range(own, last), number)
    write = _stores((0, *range(2, last)), number)
    trust_of = _trust(rule, dtype)

    @njit(nogil=True, fastmath=_FAST, error_model="numpy")
    def run(addresses: Any, sizes: Any, rows: Any, clips: Any) -> None:
        for i in range(len(sizes)):
            row, clip = rows[i], clips[i]
            steering, applying = _fixed(row, first), _fixed(row[first:], more)
            at = _fixed(addresses[i], last)
            trust = trust_of(at, sizes[i], clip, row)
            for k in range(sizes[i]):
                p, g = inputs(at, k)
                u, kept = direction(p, clip * g, kept_of(at, k), steering)
                p, moved = apply(p, trust * u, moved_of(at, k), applying)
                write(at, k, (p, *kept, *moved))

    return cast("Callable[..., None]", run)


def _trust(rule: Rule, dtype: torch.dtype) -> Any:
    """Return ``f(addresses, size, clip, row)``: what scales one tensor's update.

    The direction runs once for its norm and again for the step, which reads 16 bytes a parameter
    more; keeping the update in between would read and write as much.
    """
    constant, number = _NUMBERS[dtype]
    if not rule.trust:
        one = constant(1.0)
        return njit(inline="always")(lambda addresses, size, clip, row: one)
    direction, ratio = scalar(rule.direction.fn, dtype), scalar(norms.ratio, torch.float64)
    first, own = len(rule.direction.scalars), len(rule.direction.buffers) + 2
    inputs, kept_of = _loads((0, 1), number), _loads(range(2, own), number)

    @njit(nogil=True, fastmath=_SUM, error_model="numpy")
    def trust(at: Any, size: Any, clip: Any, row: Any) -> Any:
        steering, p_square, u_square = _fixed(row, first), 0.0, 0.0
        for k in range(size):
            p, g = inputs(at, k)
            u, _ = direction(p, clip * g, kept_of(at, k), steering)
            p_square += np.float64(p) * np.float64(p)
            u_square += np.float64(u) * np.float64(u)
        limit = np.float64(row[len(row) - 1])
        return constant(ratio(math.sqrt(p_square), math.sqrt(u_square), limit))

    return trust


def squares(grads: Sequence[Tensor]) -> Tensor:
    """Return the sum of all squares, in double precision."""
    total = 0.0
    for dtype in (torch.float32, torch.float64):
        chosen = [g for g in grads if precision(g) is dtype]
        lying = [g if g.dtype is dtype and dense(g) else copied(g, g, dtype) for g in chosen]
        addresses = np.array([g.data_ptr() for g in lying], dtype=np.int64)
        sizes = np.array([g.numel() for g in lying], dtype=np.int64)
        total += _squares(dtype)(addresses, sizes)
    return torch.tensor(total, dtype=torch.float64)


@cache
def _squares(dtype: torch.dtype) -> Callable[..., float]:
    load = _load(0, _NUMBERS[dtype][1])

    @njit(nogil=True, fastmath=_SUM)
    def run(addresses: Any, sizes: Any) -> Any:
        total = 0.0
        for i in range(len(sizes)):
            for k in range(sizes[i]):
                value = np.float64(load(addresses[i], k))
                total += value * value
        return total

    return cast("Callable[..., float]", run)
