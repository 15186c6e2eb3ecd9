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

from autotune.kernels.lang import Function, devices, jit, kernel, tl
from autotune.kernels.layout import Ints
from autotune.kernels.plan import bring_back
from autotune.kernels.rule import Rule, Update
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
from autotune.kernels.triton.shaping import fused_factors, fused_norms, fused_sizes
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
    last: int = 0  # and end, where those of the shaping begin
    width: int = 0  # of a row of scalars
    dithered: tuple[bool, ...] = ()  # which roles are rounded at random
    relative: bool = False  # whether the application's buffers are differences
    sums: int = 0  # what the shaping measures
    early: bool = False  # whether it shapes the gradient
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
    direction, apply = devices(rule.direction.fn, rule.application.fn)
    for group in ready:
        form, tables = _read(rule, group, clip)
        factors = shape = None
        if rule.shaping is not None:
            measure, number, shape = devices(
                rule.shaping.measure, rule.shaping.factor, rule.shaping.shape
            )
            if sizes is None:
                sums, firsts = _sums(group, tables, direction, measure, form), group.cut.firsts
            else:
                sums = sizes.to(group.device)[_there(group.members, group)]
                firsts = _there(np.arange(group.size + 1), group)
            factors = _factors(group, sums, firsts, number, form)
        skip = None if overflow is None else overflow.to(group.device, non_blocking=True)
        more = (factors, group.keys, skip, direction, shape, apply, form)
        launch(fused_step, group.cut.programs, group.device, *tables, *more)
    bring_back(copies)
    increment_version([update.p for update in updates])


def sizes(rule: Rule, updates: Sequence[Update], clip: Tensor | None) -> Tensor:
    """Return what a rule's shaping measures of each tensor; see ``backends.Backend``."""
    ready, _alive = launch_groups(rule, updates)
    width = rule.shaped.sums + 1
    direction, measure = devices(rule.direction.fn, rule.shaped.measure)
    found = torch.empty(len(updates), width, dtype=torch.float64, device=ready[0].device)
    for group in ready:
        form, tables = _read(rule, group, clip)
        sums = _sums(group, tables, direction, measure, form)
        own = torch.empty(group.size, width, dtype=torch.float64, device=group.device)
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


def _sums(
    group: LaunchGroup, tables: tuple[Any, ...], direction: Any, measure: Any, form: Form
) -> Tensor:
    """Return what a rule's shaping measures of each chunk, and the chunk's length."""
    programs, home = group.cut.programs, group.device
    sums = torch.empty(programs, form.sums + 1, dtype=torch.float64, device=home)
    launch(fused_norms, programs, home, *tables, sums, direction, measure, form)
    return sums


def _factors(group: LaunchGroup, sums: Tensor, firsts: Tensor, number: Any, form: Form) -> Tensor:
    """Return the number that shapes each tensor.

    Sums run over a tensor's chunks in their order, so that a step repeats bit for bit.
    """
    made = torch.empty(group.size, dtype=torch.float64, device=group.device)
    launch(fused_factors, group.size, group.device, sums, firsts, group.rows, made, number, form)
    return made


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
        sums=0 if rule.shaping is None else rule.shaping.sums,
        early=rule.shaping is not None and rule.shaping.early,
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
def directed(places, at, mask, row, factors, direction, shape, form):
    """Return elements of a parameter, their update, and buffers: the direction's and the rest."""
    values = every(places, at, mask, form)
    p, g, end = values[0], values[1] * factors[0], row[form.last :]
    if form.sums > 0 and form.early:
        g = shape(p, g, g, factors[1], end)
    u, kept = direction(p, g, values[2 : form.own], row[: form.first])
    if form.sums > 0 and not form.early:
        u = shape(p, g, u, factors[1], end)
    return p, u, kept, values[form.own :]


@jit
def advance(places, at, mask, row, factors, seed, direction, shape, apply, form):
    """Step elements: read them, apply the rule, write them."""
    p, u, kept, moving = directed(places, at, mask, row, factors, direction, shape, form)
    if form.relative:
        moving = shifted(moving, p)
    p, moved = apply(p, u, moving, row[form.first : form.last])
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
    factors,
    keys,
    overflow,
    direction: tl.constexpr,
    shape: tl.constexpr,
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
    both = clipped, factor(factors, tensor, form.compute)
    seed = named(keys, tensor, start)
    if length == form.chunk:
        for k in range(0, form.chunk, form.block):
            at = start + k + tl.arange(0, form.block)
            advance(places, at, None, row, both, seed, direction, shape, apply, form)
    else:
        i = 0
        while i < tl.abs(length):
            lane = i + tl.arange(0, form.block)
            inside = lane < tl.abs(length)
            here = start + lane
            advance(places, here, inside, row, both, seed, direction, shape, apply, form)
            i += form.block


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
