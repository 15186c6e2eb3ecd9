"""The numba backend: a rule compiled for single numbers, run over a table of addresses.

One compiled function serves every tensor of a step, at memory speed on one thread. Scalars are
data, a row for each tensor, so a schedule never recompiles. A tensor that the loop cannot read in
place (another layout or dtype than its parameter's, or gaps between elements) is copied, and the
copy is written back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.graph import increment_version

from autotune.kernels.addresses import flat, of_each
from autotune.kernels.layout import precision
from autotune.kernels.numba import cache, shaping
from autotune.kernels.numba.memory import Role, bits, load, loads, store
from autotune.kernels.numba.numbers import FAST, NUMBERS, SUM, fixed, mapped, part, scalar, whole
from autotune.kernels.plan import Dtypes, Group, Planned, bring_back, planned
from autotune.kernels.rule import Rule, Update
from autotune.kernels.rules import dither

_NONE = np.empty((0, 2))


def step(
    rule: Rule,
    updates: Sequence[Update],
    clip: Tensor | None,
    overflow: Tensor | None = None,
    sizes: Tensor | None = None,
) -> None:
    """Take one step, unless there was an overflow; see ``backends.Backend``."""
    if overflow is not None and overflow:
        return
    found = planned(updates, _read_as)
    for group in found.groups:
        keys = np.array(found.keys, dtype=np.int64)[group.members]
        known = _NONE if sizes is None else sizes.numpy()[group.members]
        run = _compiled(rule, group.compute, group.dtypes)
        run(*_read(found, group, clip), keys, known)
    bring_back(found.copies)
    increment_version([update.p for update in updates])


def sizes(
    rule: Rule, updates: Sequence[Update], clip: Tensor | None, known: Tensor | None = None
) -> Tensor:
    """Return what a rule's next shaping measures of each tensor; see ``backends.Backend``."""
    k = rule.measured(known)
    made = np.empty((len(updates), rule.shaped(k).sums + 1))
    found = planned(updates, _read_as)
    for group in found.groups:
        own = np.empty((len(group.members), made.shape[1]))
        before = _NONE if known is None else known.numpy()[group.members]
        run = shaping.measured(rule, group.compute, group.dtypes, k)
        run(*_read(found, group, clip), before, own)
        made[group.members] = own
    return torch.from_numpy(made)


def _read(found: Planned, group: Group, clip: Tensor | None) -> tuple[Any, ...]:
    """Return a loop's addresses, sizes, scalars and clipping factors, a row for each tensor."""
    number = NUMBERS[group.compute]
    factor = np.ones(1) if clip is None else clip.numpy().reshape(-1)
    addresses = np.ascontiguousarray(found.addresses[:, group.members].T)
    rows = np.asarray(found.rows)[group.members].astype(number)
    return addresses, group.sizes, rows, np.resize(factor, len(rows)).astype(number)


def _read_as(tensor: Tensor, p: Tensor) -> torch.dtype:
    """Return the dtype in which a loop reads a tensor: that of the step, or bfloat16."""
    return tensor.dtype if tensor.dtype is torch.bfloat16 else precision(p)


def _kept(role: Role, dithered: bool) -> Any:
    """Return ``f(value, k, key)``, which rounds a number to what its role keeps."""
    if role.dtype is not torch.bfloat16:
        return njit(inline="always")(lambda value, k, key: value)
    if not dithered:
        nearest = whole(dither.nearest)
        return njit(inline="always")(lambda v, k, key: np.uint16(nearest(bits(np.float32(v)))))
    stochastic, noise = whole(dither.stochastic), whole(dither.noise)
    number = role.number

    @njit(inline="always")
    def kept(value: Any, k: Any, key: Any) -> Any:
        return np.uint16(stochastic(bits(np.float32(value)), noise(k, key, number)))

    return kept


def _stores(roles: Sequence[Role], dithered: Sequence[int]) -> Any:
    """Return ``f(addresses, k, values, key)``, which writes element k of every role."""
    if not roles:
        return njit(inline="always")(lambda addresses, k, values, key: None)
    before, number, one = _stores(roles[:-1], dithered), roles[-1].number, store(roles[-1])
    nth, kept = len(roles) - 1, _kept(roles[-1], roles[-1].number in dithered)

    @njit(inline="always")
    def write(addresses: Any, k: Any, values: Any, key: Any) -> None:
        before(addresses, k, values, key)
        one(addresses[number], k, kept(values[nth], k, key))

    return write


def _shifted(count: int) -> Any:
    """Return ``f(values, by)``, which adds one number to each of a tuple's ``count`` numbers."""
    return mapped(count, lambda value, by: value + by)


def _unshifted() -> Any:
    return njit(inline="always")(lambda values, by: values)


@functools.cache
def _compiled(rule: Rule, dtype: torch.dtype, dtypes: Dtypes) -> Callable[..., None]:
    """Return the loop over a table; it releases the interpreter lock."""
    roles = [Role(i, held) for i, held in enumerate(dtypes)]
    directed, apply = shaping.directed(rule, dtype), scalar(rule.application.fn, dtype)
    applied = rule.spans.application
    last, own = len(rule.buffers) + 2, len(rule.averages) + 2
    inputs, home = loads(roles[:2], dtype), load(roles[0], dtype)
    kept_of, moved_of = loads(roles[2:own], dtype), loads(roles[own:], dtype)
    write_p, write = (_stores(chosen, rule.dithered) for chosen in (roles[:1], roles[2:]))
    shifted = _shifted(last - own) if rule.relative else _unshifted()
    factors_of = shaping.factors(rule, dtype, roles, len(rule.shapings))
    applying_of, parts_of = part(applied.start, applied.stop - applied.start), shaping.parted(rule)
    name = cache.known("step", rule, dtype, dtypes)

    @cache.kept(name)
    @njit(nogil=True, fastmath=FAST, error_model="numpy")
    @cache.named(name)
    def run(addresses: Any, sizes: Any, rows: Any, clips: Any, keys: Any, known: Any) -> None:
        for i in range(len(sizes)):
            row, key, clip = rows[i], keys[i], clips[i]
            applying, parts, at = applying_of(row), parts_of(row), fixed(addresses[i], last)
            factors = factors_of(at, sizes[i], clip, row, known, i)
            for k in range(sizes[i]):
                p, g = inputs(at, k)
                u, kept = directed(p, clip * g, kept_of(at, k), parts, factors)
                p, moved = apply(p, u, shifted(moved_of(at, k), p), applying)
                write_p(at, k, (p,), key)
                write(at, k, (*kept, *shifted(moved, -home(at[0], k))), key)

    return cast("Callable[..., None]", run)


def squares(grads: Sequence[Tensor]) -> Tensor:
    """Return the sum of all squares, in double precision."""
    total, double = 0.0, [g for g in grads if g.dtype is torch.float64]
    single = [g for g in grads if g.dtype is not torch.float64] if double else grads
    for dtype, chosen in ((torch.float32, single), (torch.float64, double)):
        if not chosen:
            continue
        lying, places = flat(chosen, dtype)
        sizes = np.fromiter(map(Tensor.numel, lying), np.int64, len(lying))
        total += _squares(dtype)(places, sizes)
    return torch.tensor(total, dtype=torch.float64, device="cpu")


def squares_of_each(stacks: Sequence[Tensor], count: int) -> Tensor:
    """Return the sum of squares of each replica; see ``backends.Backend``."""
    known = of_each(stacks, count) if stacks[0].dtype in NUMBERS else None
    if known is None:
        each = zip(*(g.unbind() for g in stacks), strict=True)
        return torch.stack([squares(grads) for grads in each])
    places, sizes = known
    run = _squares(stacks[0].dtype)
    total = [run(place, sizes) for place in places]
    return torch.tensor(total, dtype=torch.float64, device="cpu")


@functools.cache
def _squares(dtype: torch.dtype) -> Callable[..., float]:
    element, name = load(Role(0, dtype), dtype), cache.known("squares", dtype)

    @cache.kept(name)
    @njit(nogil=True, fastmath=SUM)
    @cache.named(name)
    def run(addresses: Any, sizes: Any) -> Any:
        total = 0.0
        for i in range(len(sizes)):
            for k in range(sizes[i]):
                value = np.float64(element(addresses[i], k))
                total += value * value
        return total

    return cast("Callable[..., float]", run)
