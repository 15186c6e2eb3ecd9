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
from typing import Any

import torch
from torch import Tensor
from triton import language

from autotune.kernels.configs import config
from autotune.kernels.lang import Function, device, jit, kernel, tl
from autotune.kernels.lots import Gradients, Lot, gradients, lots
from autotune.kernels.norms import ratio
from autotune.kernels.rule import Rule, Update

_DTYPES = {
    torch.float16: language.float16,
    torch.bfloat16: language.bfloat16,
    torch.float32: language.float32,
    torch.float64: language.float64,
}


def step(rule: Rule, updates: Sequence[Update], clip: Tensor | None) -> None:
    """Take one step; gradients count as multiplied by ``clip``."""
    ready, copies = lots(updates)
    for lot in ready:
        factor = None if clip is None else clip.to(lot.device, non_blocking=True)
        tables = (lot.cut.chunks, lot.table, lot.grads, lot.rows, factor)
        fixed = constants(rule, lot.dtypes, lot.compute)
        trust = _trust(lot, tables, fixed) if rule.trust else None
        launch(fused_step, lot.cut.count, lot.device, (*tables, trust), fixed)
    for tensor, copy in copies:
        if tensor is not copy:
            tensor.copy_(copy)


def _trust(lot: Lot, tables: tuple[Any, ...], fixed: dict[str, Any]) -> Tensor:
    """Return what scales each tensor's update.

    Norms are summed over a tensor's chunks in their order: a step repeats bit for bit.
    """
    sums = torch.empty(lot.cut.count, 2, dtype=torch.float64, device=lot.device)
    launch(fused_norms, lot.cut.count, lot.device, (*tables, sums), fixed)
    trust = torch.empty(lot.size, dtype=torch.float64, device=lot.device)
    tables = (sums, lot.cut.firsts, lot.rows, trust)
    launch(fused_trust, lot.size, lot.device, tables, {"width": fixed["width"]})
    return trust


def squares(grads: Sequence[Tensor]) -> Tensor:
    """Return the sum of all squares, in double precision, on the first gradient's device."""
    ready, _alive = gradients(grads)
    sums = [_squares(lot).to(grads[0].device, non_blocking=True) for lot in ready]
    return torch.stack(sums).sum()


def _squares(lot: Gradients) -> Tensor:
    sums = torch.empty(lot.cut.count, dtype=torch.float64, device=lot.device)
    tables = (lot.cut.chunks, lot.grads, sums)
    launch(fused_squares, lot.cut.count, lot.device, tables, {"dtype": _DTYPES[lot.dtype]})
    return sums.sum()


def constants(
    rule: Rule, dtypes: tuple[torch.dtype, ...], compute: torch.dtype
) -> dict[str, Any]:
    """Return what is compiled into a rule's kernels: its functions, and how tables are read."""
    first = len(rule.direction.scalars)
    return {
        "direction": device(rule.direction.fn),
        "application": device(rule.application.fn),
        "first": first,
        "last": first + len(rule.application.scalars),
        "width": len(rule.scalars),
        "own": 2 + len(rule.direction.buffers),
        "dtypes": tuple([_DTYPES[dtype] for dtype in dtypes]),
        "compute": _DTYPES[compute],
    }


def launch(
    what: Function, programs: int, where: torch.device, tables: tuple[Any, ...], fixed: dict[str, Any]
) -> None:
    """Launch a kernel; multiplying and adding are fused whatever Triton's default is by then."""
    if not programs:
        return
    setting = config(where)
    options = {"num_warps": setting.warps, "enable_fp_fusion": True}
    with nullcontext() if where.type == "cpu" else torch.cuda.device(where):
        kernel(what)[(programs,)](
            *tables, **fixed, chunk=setting.chunk, block=setting.block, **options
        )


@jit
def rounded(value, dtype: tl.constexpr):
    """Round to nearest, ties to even, and NaN to NaN.

    Written out for bfloat16, which the interpreter would truncate to.
    """
    if dtype == tl.bfloat16:
        value = value.to(tl.float32)
        bits = tl.where(value == value, value.to(tl.uint32, bitcast=True), 0x7FC00000)
        bits = bits + 0x7FFF + ((bits >> 16) & 1)
        return (bits >> 16).to(tl.uint16).to(tl.bfloat16, bitcast=True)
    else:
        return value.to(dtype)


@jit
def added(a, b):
    """Add."""
    return a + b


@jit
def squared(value):
    """Square in double precision."""
    value = value.to(tl.float64)
    return value * value


@jit
def chunk_of(chunks):
    """Return the tensor of this program's chunk, where it starts, and its length."""
    at = chunks + 3 * tl.program_id(0).to(tl.int64)
    return tl.load(at), tl.multiple_of(tl.load(at + 1), 16), tl.load(at + 2)


@jit
def line(table, tensor, width: tl.constexpr):
    """Return a tensor's line of a table."""
    numbers = ()
    for i in tl.static_range(width):
        numbers = numbers + (tl.load(table + tensor * width + i),)
    return numbers


@jit
def roles(table, grads, tensor, count: tl.constexpr):
    """Return the addresses of a parameter, its gradient and its buffers."""
    kept = line(table, tensor, count - 1)
    return (kept[0], tl.load(grads + tensor)) + kept[1:]


@jit
def factor(pointer, i, compute: tl.constexpr):
    """Return the i-th number, or 1 where there are none."""
    if pointer is None:
        return 1.0
    else:
        return tl.load(pointer + i).to(compute)


@jit
def spots(address, at, dtype: tl.constexpr, aligned: tl.constexpr):
    """Return pointers to elements; the hint belongs to this pointer, not to the address."""
    base = address.to(tl.pointer_type(dtype))
    if aligned:
        base = tl.multiple_of(base, 16)
    return base + at


@jit
def loaded(address, at, mask, dtype: tl.constexpr, aligned: tl.constexpr, compute: tl.constexpr):
    """Return elements, with zeros outside of a mask."""
    if aligned:
        value = tl.load(spots(address, at, dtype, True))
    else:
        value = tl.load(spots(address, at, dtype, False), mask=mask, other=0.0)
    return value.to(compute)


@jit
def stored(address, at, mask, value, dtype: tl.constexpr, aligned: tl.constexpr):
    """Write elements."""
    if aligned:
        tl.store(spots(address, at, dtype, True), rounded(value, dtype))
    else:
        tl.store(spots(address, at, dtype, False), rounded(value, dtype), mask=mask)


@jit
def directed(
    places, at, mask, aligned: tl.constexpr, row, clip,
    direction: tl.constexpr, first: tl.constexpr, own: tl.constexpr,
    dtypes: tl.constexpr, compute: tl.constexpr,
):
    """Return a parameter's elements, their update, its direction's buffers and the others."""
    values = ()
    for i in tl.static_range(len(dtypes)):
        values = values + (loaded(places[i], at, mask, dtypes[i], aligned, compute),)
    u, kept = direction(values[0], values[1] * clip, values[2:own], row[:first])
    return values[0], u, kept, values[own:]


@jit
def advanced(
    places, at, mask, aligned: tl.constexpr, row, clip, trust,
    direction: tl.constexpr, application: tl.constexpr,
    first: tl.constexpr, last: tl.constexpr, own: tl.constexpr,
    dtypes: tl.constexpr, compute: tl.constexpr,
):
    """Step elements: a whole rule, from memory to memory."""
    p, u, kept, moving = directed(
        places, at, mask, aligned, row, clip, direction, first, own, dtypes, compute
    )
    p, moved = application(p, u * trust, moving, row[first:last])
    buffers = kept + moved
    stored(places[0], at, mask, p, dtypes[0], aligned)
    for i in tl.static_range(len(buffers)):
        stored(places[i + 2], at, mask, buffers[i], dtypes[i + 2], aligned)


@jit
def fused_step(
    chunks, table, grads, rows, clip, trust,
    direction: tl.constexpr, application: tl.constexpr,
    first: tl.constexpr, last: tl.constexpr, width: tl.constexpr, own: tl.constexpr,
    dtypes: tl.constexpr, compute: tl.constexpr, chunk: tl.constexpr, block: tl.constexpr,
):
    """Step one chunk of one tensor."""
    tensor, start, length = chunk_of(chunks)
    places, row = roles(table, grads, tensor, len(dtypes)), line(rows, tensor, width)
    clip, trust = factor(clip, 0, compute), factor(trust, tensor, compute)
    if length == chunk:
        for k in range(0, chunk, block):
            at = tl.multiple_of(start + k, 16) + tl.arange(0, block)
            advanced(
                places, at, None, True, row, clip, trust,
                direction, application, first, last, own, dtypes, compute,
            )
    else:
        i = 0
        while i < tl.abs(length):
            lane = i + tl.arange(0, block)
            advanced(
                places, start + lane, lane < tl.abs(length), False, row, clip, trust,
                direction, application, first, last, own, dtypes, compute,
            )
            i += block


@jit
def fused_norms(
    chunks, table, grads, rows, clip, sums,
    direction: tl.constexpr, application: tl.constexpr,
    first: tl.constexpr, last: tl.constexpr, width: tl.constexpr, own: tl.constexpr,
    dtypes: tl.constexpr, compute: tl.constexpr, chunk: tl.constexpr, block: tl.constexpr,
):
    """Sum the squares of one chunk's parameters, and of their updates."""
    tensor, start, length = chunk_of(chunks)
    places, row = roles(table, grads, tensor, len(dtypes)), line(rows, tensor, width)
    clip = factor(clip, 0, compute)
    p_sum = tl.full((block,), 0.0, tl.float64)
    u_sum = tl.full((block,), 0.0, tl.float64)
    if length == chunk:
        for k in range(0, chunk, block):
            at = tl.multiple_of(start + k, 16) + tl.arange(0, block)
            p, u, _, _ = directed(
                places, at, None, True, row, clip, direction, first, own, dtypes, compute
            )
            p_sum += squared(p)
            u_sum += squared(u)
    else:
        i = 0
        while i < tl.abs(length):
            lane = i + tl.arange(0, block)
            inside = lane < tl.abs(length)
            p, u, _, _ = directed(
                places, start + lane, inside, False, row, clip,
                direction, first, own, dtypes, compute,
            )
            p_sum += squared(p)
            u_sum += squared(tl.where(inside, u, 0.0))
            i += block
    here = sums + 2 * tl.program_id(0).to(tl.int64)
    tl.store(here, tl.reduce(p_sum, 0, added))
    tl.store(here + 1, tl.reduce(u_sum, 0, added))


@jit
def fused_trust(
    sums, firsts, rows, trust,
    width: tl.constexpr, chunk: tl.constexpr, block: tl.constexpr,
):
    """Turn the sums over one tensor's chunks into what scales its update."""
    tensor = tl.program_id(0)
    k, last = tl.load(firsts + tensor), tl.load(firsts + tensor + 1)
    p_sum = tl.full((block,), 0.0, tl.float64)
    u_sum = tl.full((block,), 0.0, tl.float64)
    while k < last:
        at = k + tl.arange(0, block)
        p_sum += tl.load(sums + 2 * at, mask=at < last, other=0.0)
        u_sum += tl.load(sums + 2 * at + 1, mask=at < last, other=0.0)
        k += block
    p_norm, u_norm = tl.sqrt(tl.reduce(p_sum, 0, added)), tl.sqrt(tl.reduce(u_sum, 0, added))
    limit = tl.load(rows + tensor * width + width - 1).to(tl.float64)
    tl.store(trust + tensor, ratio(p_norm, u_norm, limit))


@jit
def fused_squares(
    chunks, grads, sums, dtype: tl.constexpr, chunk: tl.constexpr, block: tl.constexpr
):
    """Sum the squares of one chunk's gradients."""
    tensor, start, length = chunk_of(chunks)
    address = tl.load(grads + tensor)
    total = tl.full((block,), 0.0, tl.float64)
    if length == chunk:
        for k in range(0, chunk, block):
            at = tl.multiple_of(start + k, 16) + tl.arange(0, block)
            total += squared(loaded(address, at, None, dtype, True, tl.float64))
    else:
        i = 0
        while i < tl.abs(length):
            lane = i + tl.arange(0, block)
            inside = lane < tl.abs(length)
            total += squared(loaded(address, start + lane, inside, dtype, False, tl.float64))
            i += block
    tl.store(sums + tl.program_id(0), tl.reduce(total, 0, added))
