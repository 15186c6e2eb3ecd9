"""The triton backend: one launch steps all tensors of one device and one combination of dtypes.

A program of ``fused_step`` takes one chunk of one tensor. Tables tell it which, where the tensor
and its buffers are, and its row of scalars: they are data, so a schedule recompiles nothing.

A chunk that is full and aligned takes a branch without masks, where the compiler is told of the
alignment: it needs both to access 16 bytes at once. The end of a tensor and a view that begins
anywhere take the other branch, where the same hint would be false and fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import increment_version
from triton import language

from autotune.kernels.configs import config
from autotune.kernels.dither import nearest, noise, stochastic
from autotune.kernels.lang import Function, device, jit, kernel, tl
from autotune.kernels.lots import Gradients, Lot, gradients, lots
from autotune.kernels.norms import ratio
from autotune.kernels.plan import bring_back
from autotune.kernels.rule import Rule, Update

_DTYPES = {
    torch.float16: language.float16,
    torch.bfloat16: language.bfloat16,
    torch.float32: language.float32,
    torch.float64: language.float64,
}


@dataclass(frozen=True, kw_only=True)
class Form:
    """What is compiled into a kernel besides the rule: how it reads tables and cuts chunks."""

    chunk: int
    block: int
    dtypes: tuple[language.dtype, ...]  # of parameter, gradient and buffers
    compute: language.dtype = language.float64
    own: int = 0  # where the application's buffers begin, among the dtypes
    first: int = 0  # where the application's scalars begin
    last: int = 0  # and end
    width: int = 0  # of a row of scalars
    dithered: tuple[bool, ...] = ()  # which roles are rounded at random
    relative: bool = False  # whether the application's buffers are differences
    apart: int = 0  # whether clipping factors are one a tensor


def step(
    rule: Rule, updates: Sequence[Update], clip: Tensor | None, overflow: Tensor | None = None
) -> None:
    """Take one step, unless there was an overflow; ``clip`` is a number or one a replica."""
    ready, copies = lots(rule, updates)
    for lot in ready:
        factor = None if clip is None else clip.to(lot.device, non_blocking=True)
        form, apply = _form(rule, lot), device(rule.application.fn)
        if factor is not None and factor.ndim:
            factor, form = factor.repeat(lot.size // len(factor)), replace(form, apart=1)
        tables = (lot.cut.chunks, lot.table, lot.grads, lot.rows, factor)
        trust = _trust(rule, lot, tables, form) if rule.trust else None
        skip = None if overflow is None else overflow.to(lot.device, non_blocking=True)
        more = (trust, lot.keys, skip, device(rule.direction.fn), apply, form)
        launch(fused_step, lot.cut.programs, lot.device, *tables, *more)
    bring_back(copies)
    increment_version([update.p for update in updates])


def _trust(rule: Rule, lot: Lot, tables: tuple[Any, ...], form: Form) -> Tensor:
    """Return what scales each tensor's update.

    Norms are summed over a tensor's chunks in their order: a step repeats bit for bit.
    """
    sums = torch.empty(lot.cut.programs, 2, dtype=torch.float64, device=lot.device)
    direction = device(rule.direction.fn)
    launch(fused_norms, lot.cut.programs, lot.device, *tables, sums, direction, form)
    trust = torch.empty(lot.size, dtype=torch.float64, device=lot.device)
    launch(fused_trust, lot.size, lot.device, sums, lot.cut.firsts, lot.rows, trust, form)
    return trust


def squares(grads: Sequence[Tensor]) -> Tensor:
    """Return the sum of all squares, in double precision, on the first gradient's device."""
    ready, _alive = gradients(grads)
    sums = [_squares(lot).to(grads[0].device, non_blocking=True) for lot in ready]
    return torch.stack(sums).sum()


def _squares(lot: Gradients) -> Tensor:
    setting = config(lot.device)
    form = Form(chunk=setting.chunk, block=setting.block, dtypes=(_DTYPES[lot.dtype],))
    sums = torch.empty(lot.cut.programs, dtype=torch.float64, device=lot.device)
    launch(fused_squares, lot.cut.programs, lot.device, lot.cut.chunks, lot.grads, sums, form)
    return sums.sum()


def _form(rule: Rule, lot: Lot) -> Form:
    """Return how a rule's kernels read a lot."""
    setting, first = config(lot.device), len(rule.direction.scalars)
    return Form(
        chunk=setting.chunk,
        block=setting.block,
        dtypes=tuple([_DTYPES[dtype] for dtype in lot.dtypes]),
        compute=_DTYPES[lot.compute],
        own=2 + len(rule.direction.buffers),
        first=first,
        last=first + len(rule.application.scalars),
        width=len(rule.scalars),
        dithered=tuple([role in rule.dithered for role in range(len(lot.dtypes))]),
        relative=rule.relative,
    )


def launch(what: Function, programs: int, where: torch.device, *arguments: Any) -> None:
    """Launch a kernel; that sums and products are fused is not left to Triton's default."""
    if programs:
        warps = config(where).warps
        with nullcontext() if where.type == "cpu" else torch.cuda.device(where):
            kernel(what)[(programs,)](*arguments, num_warps=warps, enable_fp_fusion=True)


@jit
def widened(value, dtype):
    """Return the same number in more bits; the interpreter would lose bfloat16's subnormals."""
    if value.dtype == tl.bfloat16:
        bits = value.to(tl.uint16, bitcast=True).to(tl.uint32) << 16
        return bits.to(tl.float32, bitcast=True).to(dtype)
    else:
        return value.to(dtype)


@jit
def rounded(value, at, key, role: tl.constexpr, form):
    """Return numbers as their role is kept; the interpreter would truncate to bfloat16."""
    if form.dtypes[role] == tl.bfloat16:
        bits = value.to(tl.float32).to(tl.uint32, bitcast=True)
        upper = stochastic(bits, noise(at, key, role)) if form.dithered[role] else nearest(bits)
        return upper.to(tl.uint16).to(tl.bfloat16, bitcast=True)
    else:
        return value.to(form.dtypes[role])


@jit
def added(a, b):
    """Add, as a reduction does."""
    return a + b


@jit
def squared(value):
    """Square in double precision."""
    value = value.to(tl.float64)
    return value * value


@jit
def chunk_of(chunks):
    """Return the tensor of this program's chunk, where in it the chunk starts, and its length."""
    at = chunks + 3 * tl.program_id(0).to(tl.int64)
    return tl.load(at), tl.multiple_of(tl.load(at + 1), 16), tl.load(at + 2)


@jit
def line(table, tensor, width):
    """Return a tensor's line of a table."""
    numbers = ()
    for i in tl.static_range(width):
        numbers += (tl.load(table + tensor * width + i),)
    return numbers


@jit
def roles(table, grads, tensor, count):
    """Return the addresses of a parameter, its gradient and its buffers."""
    kept = line(table, tensor, count - 1)
    first = kept[0], tl.load(grads + tensor)
    return first + kept[1:]


@jit
def factor(pointer, i, dtype):
    """Return number i, or 1 where there are none."""
    if pointer is None:
        return 1.0
    else:
        return tl.load(pointer + i).to(dtype)


@jit
def named(keys, tensor):
    """Return what names a tensor's random numbers, if any are asked for."""
    if keys is None:
        return 0
    else:
        return tl.load(keys + tensor)


@jit
def spots(address, at, mask, dtype):
    """Return pointers to elements, in a chunk that is aligned where it needs no mask."""
    base = address.to(tl.pointer_type(dtype))
    if mask is None:
        base = tl.multiple_of(base, 16)
    return base + at


@jit
def loaded(address, at, mask, dtype, compute):
    """Return elements, with zeros outside of a mask."""
    if mask is None:
        value = tl.load(spots(address, at, mask, dtype))
    else:
        value = tl.load(spots(address, at, mask, dtype), mask=mask, other=0.0)
    return widened(value, compute)


@jit
def stored(places, at, mask, value, key, role: tl.constexpr, form):
    """Write elements of one role, and return them as they are kept."""
    value = rounded(value, at, key, role, form)
    tl.store(spots(places[role], at, mask, form.dtypes[role]), value, mask=mask)
    return value


@jit
def every(places, at, mask, form):
    """Return the elements of a parameter, its gradient and its buffers."""
    values = ()
    for i in tl.static_range(len(form.dtypes)):
        values += (loaded(places[i], at, mask, form.dtypes[i], form.compute),)
    return values


@jit
def directed(places, at, mask, row, clip, direction, form):
    """Return a parameter's elements, their update, its direction's buffers, and the others."""
    values = every(places, at, mask, form)
    u, kept = direction(values[0], values[1] * clip, values[2 : form.own], row[: form.first])
    return values[0], u, kept, values[form.own :]


@jit
def shifted(values, by):
    """Add the same to each."""
    moved = ()
    for i in tl.static_range(len(values)):
        moved += (values[i] + by,)
    return moved


@jit
def advance(places, at, mask, row, factors, key, direction, apply, form):
    """Step elements: a rule from memory to memory."""
    p, u, kept, moving = directed(places, at, mask, row, factors[0], direction, form)
    if form.relative:
        moving = shifted(moving, p)
    p, moved = apply(p, u * factors[1], moving, row[form.first : form.last])
    p = stored(places, at, mask, p, key, 0, form)
    if form.relative:
        moved = shifted(moved, -widened(p, form.compute))
    buffers = kept + moved
    for i in tl.static_range(len(buffers)):
        stored(places, at, mask, buffers[i], key, i + 2, form)


@jit
def fused_step(
    chunks,
    table,
    grads,
    rows,
    clip,
    trust,
    keys,
    overflow,
    direction: tl.constexpr,
    apply: tl.constexpr,
    form: tl.constexpr,
):
    """Step one chunk of one tensor, or nothing of it after an overflow."""
    tensor, start, length = chunk_of(chunks)
    if overflow is not None:
        length = tl.where(tl.load(overflow) != 0.0, 0, length)
    places = roles(table, grads, tensor, len(form.dtypes))
    row = line(rows, tensor, form.width)
    clipped = factor(clip, tensor * form.apart, form.compute)
    factors = clipped, factor(trust, tensor, form.compute)
    key = named(keys, tensor)
    if length == form.chunk:
        for k in range(0, form.chunk, form.block):
            at = start + k + tl.arange(0, form.block)
            advance(places, at, None, row, factors, key, direction, apply, form)
    else:
        i = 0
        while i < tl.abs(length):
            lane = i + tl.arange(0, form.block)
            inside = lane < tl.abs(length)
            advance(places, start + lane, inside, row, factors, key, direction, apply, form)
            i += form.block


@jit
def fused_norms(
    chunks, table, grads, rows, clip, sums, direction: tl.constexpr, form: tl.constexpr
):
    """Sum the squares of one chunk's parameters, and of their updates."""
    tensor, start, length = chunk_of(chunks)
    places = roles(table, grads, tensor, len(form.dtypes))
    row = line(rows, tensor, form.width)
    clip = factor(clip, tensor * form.apart, form.compute)
    p_sum = tl.full((form.block,), 0.0, tl.float64)
    u_sum = tl.full((form.block,), 0.0, tl.float64)
    if length == form.chunk:
        for k in range(0, form.chunk, form.block):
            at = start + k + tl.arange(0, form.block)
            p, u, _, _ = directed(places, at, None, row, clip, direction, form)
            p_sum += squared(p)
            u_sum += squared(u)
    else:
        i = 0
        while i < tl.abs(length):
            lane = i + tl.arange(0, form.block)
            inside = lane < tl.abs(length)
            p, u, _, _ = directed(places, start + lane, inside, row, clip, direction, form)
            p_sum += squared(p)
            u_sum += squared(tl.where(inside, u, 0.0))
            i += form.block
    here = sums + 2 * tl.program_id(0).to(tl.int64)
    tl.store(here, tl.reduce(p_sum, 0, added))
    tl.store(here + 1, tl.reduce(u_sum, 0, added))


@jit
def fused_trust(sums, firsts, rows, trust, form: tl.constexpr):
    """Turn the sums over one tensor's chunks into what scales its update."""
    tensor = tl.program_id(0)
    k, last = tl.load(firsts + tensor), tl.load(firsts + tensor + 1)
    p_sum = tl.full((form.block,), 0.0, tl.float64)
    u_sum = tl.full((form.block,), 0.0, tl.float64)
    while k < last:
        at = k + tl.arange(0, form.block)
        p_sum += tl.load(sums + 2 * at, mask=at < last, other=0.0)
        u_sum += tl.load(sums + 2 * at + 1, mask=at < last, other=0.0)
        k += form.block
    p_norm, u_norm = tl.sqrt(tl.reduce(p_sum, 0, added)), tl.sqrt(tl.reduce(u_sum, 0, added))
    limit = tl.load(rows + tensor * form.width + form.width - 1).to(tl.float64)
    tl.store(trust + tensor, ratio(p_norm, u_norm, limit))


@jit
def fused_squares(chunks, grads, sums, form: tl.constexpr):
    """Sum the squares of one chunk's gradients."""
    tensor, start, length = chunk_of(chunks)
    address, total = tl.load(grads + tensor), tl.full((form.block,), 0.0, tl.float64)
    if length == form.chunk:
        for k in range(0, form.chunk, form.block):
            at = start + k + tl.arange(0, form.block)
            total += squared(loaded(address, at, None, form.dtypes[0], form.compute))
    else:
        i = 0
        while i < tl.abs(length):
            lane = i + tl.arange(0, form.block)
            inside = lane < tl.abs(length)
            total += squared(loaded(address, start + lane, inside, form.dtypes[0], form.compute))
            i += form.block
    tl.store(sums + tl.program_id(0), tl.reduce(total, 0, added))
