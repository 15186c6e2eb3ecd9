"""The triton backend: one launch steps all tensors of one device and one combination of dtypes.

A program of ``fused_step`` takes one chunk of one tensor. Tables tell which one, where the tensor
and its buffers are, and its row of scalars. These are data, so a schedule recompiles nothing.

A full and aligned chunk takes a branch without masks, in which the compiler is told of the
alignment: it needs both to access 16 bytes at once. The end of a tensor, or a view that is not
aligned, takes the other branch: there the hint would be false, and the access would fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version
from triton import language

from autotune.kernels.lang import Function, device, jit, kernel, tl
from autotune.kernels.layout import Ints
from autotune.kernels.plan import bring_back
from autotune.kernels.rule import Rule, Update
from autotune.kernels.rules.norms import ratio
from autotune.kernels.triton.configs import config
from autotune.kernels.triton.launches import (
    Gradients,
    LaunchGroup,
    gradients,
    gradients_of_each,
    launch_groups,
)
from autotune.kernels.triton.memory import (
    added,
    chunk_of,
    every,
    factor,
    line,
    loaded,
    named,
    roles,
    shifted,
    squared,
    stored,
    widened,
)
from autotune.kernels.triton.tables import place, table

_DTYPES = {
    torch.float16: language.float16,
    torch.bfloat16: language.bfloat16,
    torch.float32: language.float32,
    torch.float64: language.float64,
}


@dataclass(frozen=True, kw_only=True)
class Form:
    """The constants compiled into a kernel besides its rule."""

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
    apart: int = 0  # 1 if each tensor has a clipping factor of its own


def step(
    rule: Rule,
    updates: Sequence[Update],
    clip: Tensor | None,
    overflow: Tensor | None = None,
    sizes: Tensor | None = None,
) -> None:
    """Take one step, unless there was an overflow; see ``backends.Backend``."""
    ready, copies = launch_groups(rule, updates)
    for group in ready:
        form, tables = _read(rule, group, clip)
        trust = None
        if rule.trust and sizes is None:
            trust = _trust(group, _sums(rule, group, tables, form), group.cut.firsts, form)
        elif rule.trust and sizes is not None:
            own = sizes.to(group.device)[_there(group.members, group)]
            trust = _trust(group, own, _there(np.arange(group.size + 1), group), form)
        skip = None if overflow is None else overflow.to(group.device, non_blocking=True)
        parts = device(rule.direction.fn), device(rule.application.fn)
        more = (trust, group.keys, skip, *parts, form)
        launch(fused_step, group.cut.programs, group.device, *tables, *more)
    bring_back(copies)
    increment_version([update.p for update in updates])


def sizes(rule: Rule, updates: Sequence[Update], clip: Tensor | None) -> Tensor:
    """Return the sums of squares of each parameter and of its update, a row for each tensor."""
    ready, _alive = launch_groups(rule, updates)
    found = torch.empty(len(updates), 2, dtype=torch.float64, device=ready[0].device)
    for group in ready:
        form, tables = _read(rule, group, clip)
        sums = _sums(rule, group, tables, form)
        own = torch.empty(group.size, 2, dtype=torch.float64, device=group.device)
        launch(fused_sizes, group.size, group.device, sums, group.cut.firsts, own, form)
        found[_there(group.members, ready[0])] = own.to(found.device)
    return found


def _there(numbers: Ints, group: LaunchGroup) -> Tensor:
    return table(numbers.tobytes(), torch.int64, place(group.device))


def _read(rule: Rule, group: LaunchGroup, clip: Tensor | None) -> tuple[Form, tuple[Any, ...]]:
    """Return the constants and the tables for launches over a group."""
    form = _form(rule, group)
    factor = None if clip is None else clip.to(group.device, non_blocking=True)
    if factor is not None and factor.ndim:
        factor, form = factor.repeat(group.size // len(factor)), replace(form, apart=1)
    return form, (group.cut.chunks, group.table, group.grads, group.rows, factor)


def _sums(rule: Rule, group: LaunchGroup, tables: tuple[Any, ...], form: Form) -> Tensor:
    """Return the sums of squares of each chunk's parameters, and of their updates."""
    sums = torch.empty(group.cut.programs, 2, dtype=torch.float64, device=group.device)
    direction = device(rule.direction.fn)
    launch(fused_norms, group.cut.programs, group.device, *tables, sums, direction, form)
    return sums


def _trust(group: LaunchGroup, sums: Tensor, firsts: Tensor, form: Form) -> Tensor:
    """Return the trust ratio of each tensor.

    Sums run over a tensor's chunks in their order, so that a step repeats bit for bit.
    """
    trust = torch.empty(group.size, dtype=torch.float64, device=group.device)
    launch(fused_trust, group.size, group.device, sums, firsts, group.rows, trust, form)
    return trust


def squares(grads: Sequence[Tensor]) -> Tensor:
    """Return the sum of all squares, in double precision, on the first gradient's device."""
    ready, _alive = gradients(grads)
    sums = [_squares(group).to(grads[0].device, non_blocking=True) for group in ready]
    return sums[0] if len(sums) == 1 else torch.stack(sums).sum()


def squares_of_each(stacks: Sequence[Tensor], count: int) -> Tensor:
    """Return the sum of squares of each replica; see ``backends.Backend``."""
    together = gradients_of_each(stacks, count)
    if together is None:
        each = zip(*(g.unbind() for g in stacks), strict=True)
        return torch.stack([squares(grads) for grads in each])
    return _chunks_squares(together).view(count, -1).sum(dim=1)


def _squares(group: Gradients) -> Tensor:
    return _chunks_squares(group).sum()


def _chunks_squares(group: Gradients) -> Tensor:
    """Return the sum of squares of each chunk."""
    setting = config(group.device)
    form = Form(chunk=setting.chunk, block=setting.block, dtypes=(_DTYPES[group.dtype],))
    sums = torch.empty(group.cut.programs, dtype=torch.float64, device=group.device)
    tables = group.cut.chunks, group.grads
    launch(fused_squares, group.cut.programs, group.device, *tables, sums, form)
    return sums


def _form(rule: Rule, group: LaunchGroup) -> Form:
    """Return the constants of a rule's kernels for a group."""
    setting, first = config(group.device), len(rule.direction.scalars)
    return Form(
        chunk=setting.chunk,
        block=setting.block,
        dtypes=tuple([_DTYPES[dtype] for dtype in group.dtypes]),
        compute=_DTYPES[group.compute],
        own=2 + len(rule.direction.buffers),
        first=first,
        last=first + len(rule.application.scalars),
        width=len(rule.scalars),
        dithered=tuple([role in rule.dithered for role in range(len(group.dtypes))]),
        relative=rule.relative,
    )


def launch(
    what: Function,
    programs: int,
    where: torch.device,
    *arguments: Any,
    warps: int | None = None,
    fusing: bool = True,
) -> None:
    """Launch a kernel; products and sums are fused as told, whatever Triton's default."""
    if programs:
        warps = warps or config(where).warps
        with nullcontext() if where.type == "cpu" else torch.cuda.device(where):
            kernel(what)[(programs,)](*arguments, num_warps=warps, enable_fp_fusion=fusing)


@jit
def directed(places, at, mask, row, clip, direction, form):
    """Return elements of a parameter, their update, and buffers: the direction's and the rest."""
    values = every(places, at, mask, form)
    u, kept = direction(values[0], values[1] * clip, values[2 : form.own], row[: form.first])
    return values[0], u, kept, values[form.own :]


@jit
def advance(places, at, mask, row, factors, seed, direction, apply, form):
    """Step elements: read them, apply the rule, write them."""
    p, u, kept, moving = directed(places, at, mask, row, factors[0], direction, form)
    if form.relative:
        moving = shifted(moving, p)
    p, moved = apply(p, u * factors[1], moving, row[form.first : form.last])
    p = stored(places, at, mask, p, seed, 0, form)
    if form.relative:
        moved = shifted(moved, -widened(p, form.compute))
    buffers = kept + moved
    for i in tl.static_range(len(buffers)):
        stored(places, at, mask, buffers[i], seed, i + 2, form)


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
    """Step one chunk of one tensor, unless there was an overflow."""
    tensor, start, length = chunk_of(chunks)
    if overflow is not None:
        length = tl.where(tl.load(overflow) != 0.0, 0, length)
    places = roles(table, grads, tensor, len(form.dtypes))
    row = line(rows, tensor, form.width)
    clipped = factor(clip, tensor * form.apart, form.compute)
    factors = clipped, factor(trust, tensor, form.compute)
    seed = named(keys, tensor, start)
    if length == form.chunk:
        for k in range(0, form.chunk, form.block):
            at = start + k + tl.arange(0, form.block)
            advance(places, at, None, row, factors, seed, direction, apply, form)
    else:
        i = 0
        while i < tl.abs(length):
            lane = i + tl.arange(0, form.block)
            inside = lane < tl.abs(length)
            advance(places, start + lane, inside, row, factors, seed, direction, apply, form)
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
def summed(sums, firsts, tensor, form):
    """Return both sums over one tensor's chunks."""
    k, last = tl.load(firsts + tensor), tl.load(firsts + tensor + 1)
    p_sum = tl.full((form.block,), 0.0, tl.float64)
    u_sum = tl.full((form.block,), 0.0, tl.float64)
    while k < last:
        at = k + tl.arange(0, form.block)
        p_sum += tl.load(sums + 2 * at, mask=at < last, other=0.0)
        u_sum += tl.load(sums + 2 * at + 1, mask=at < last, other=0.0)
        k += form.block
    return tl.reduce(p_sum, 0, added), tl.reduce(u_sum, 0, added)


@jit
def fused_sizes(sums, firsts, sizes, form: tl.constexpr):
    """Write both sums over one tensor's chunks."""
    tensor = tl.program_id(0)
    p_sum, u_sum = summed(sums, firsts, tensor, form)
    tl.store(sizes + 2 * tensor, p_sum)
    tl.store(sizes + 2 * tensor + 1, u_sum)


@jit
def fused_trust(sums, firsts, rows, trust, form: tl.constexpr):
    """Turn the sums over one tensor's chunks into its trust ratio."""
    tensor = tl.program_id(0)
    p_sum, u_sum = summed(sums, firsts, tensor, form)
    p_norm, u_norm = tl.sqrt(p_sum), tl.sqrt(u_sum)
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
