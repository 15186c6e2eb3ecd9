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
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from autotune.kernels.lang import Function, devices, jit, kernel, tl
from autotune.kernels.layout import Ints
from autotune.kernels.plan import bring_back
from autotune.kernels.rule import Rule, Update
from autotune.kernels.triton.configs import config
from autotune.kernels.triton.form import DTYPES, Form, known_form, measuring
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
from autotune.kernels.triton.ranking import fused_counts, fused_digits
from autotune.kernels.triton.shaping import (
    fused_factors,
    fused_norms,
    fused_sizes,
    numbers,
    turned,
)
from autotune.kernels.triton.tables import place, table


def step(
    rule: Rule,
    updates: Sequence[Update],
    clip: Tensor | None,
    overflow: Tensor | None = None,
    sizes: Tensor | None = None,
) -> None:
    """Take one step, unless there was an overflow; see ``backends.Backend``."""
    ready, copies = launch_groups(rule, updates)
    functions = devices(*_functions(rule))
    for group in ready:
        form, tables = _read(rule, group, clip)
        factors = None
        if form.shapings:
            factors = _factors(rule, group, tables, functions, form, form.shapings, sizes)
        skip = None if overflow is None else overflow.to(group.device, non_blocking=True)
        more = (factors, group.keys, skip, *functions[:5], form)
        launch(fused_step, group.cut.programs, group.device, *tables, *more)
    bring_back(copies)
    increment_version([update.p for update in updates])


def sizes(
    rule: Rule, updates: Sequence[Update], clip: Tensor | None, known: Tensor | None = None
) -> Tensor:
    """Return what a rule's next shaping measures of each tensor; see ``backends.Backend``."""
    ready, _alive = launch_groups(rule, updates)
    k = rule.measured(known)
    width, functions = rule.shaped(k).sums + 1, devices(*_functions(rule))
    found = torch.empty(len(updates), width, dtype=torch.float64, device=ready[0].device)
    for group in ready:
        form, tables = _read(rule, group, clip)
        factors = _factors(rule, group, tables, functions, form, k, known) if k else None
        form = measuring(rule, form, k)
        sums = _sums(group, tables, functions, form, factors)
        own = torch.empty(group.size, width, dtype=torch.float64, device=group.device)
        launch(fused_sizes, group.size, group.device, sums, group.cut.firsts, own, form)
        found[_there(group.members, ready[0])] = own.to(found.device)
    return found


@cache
def _functions(rule: Rule) -> tuple[Function | None, ...]:
    """Return a rule's functions, those of its shapings that measure and make a number last.

    The first five are in the order of ``fused_step``.
    """
    shapes = {shaping.early: shaping.shape for shaping in rule.shapings}
    filtering = None if rule.filter is None else rule.filter.fn
    steps = (filtering, shapes.get(True), rule.direction.fn, shapes.get(False), rule.application.fn)
    return (*steps, *[fn for each in rule.shapings for fn in (each.measure, each.factor)])


def _there(numbers: Ints, group: LaunchGroup) -> Tensor:
    return table(numbers.tobytes(), torch.int64, place(group.device))


def _read(rule: Rule, group: LaunchGroup, clip: Tensor | None) -> tuple[Form, tuple[Any, ...]]:
    """Return the constants and the tables for launches over a group."""
    form = _form(rule, group)
    factor = None if clip is None else clip.to(group.device, non_blocking=True)
    if factor is not None and factor.ndim:
        factor, form = factor.repeat(group.size // len(factor)), replace(form, apart=1)
    return form, (group.cut.chunks, group.table, group.grads, group.rows, factor)


def _factors(
    rule: Rule,
    group: LaunchGroup,
    tables: tuple[Any, ...],
    functions: tuple[Any, ...],
    form: Form,
    count: int,
    sizes: Tensor | None,
) -> Tensor:
    """Return the numbers that shape each tensor: the first ``count`` of them.

    Sums run over a tensor's chunks in their order, so that a step repeats bit for bit.
    """
    home, start = group.device, 0
    made = torch.empty(form.shapings * group.size, dtype=torch.float64, device=home)
    for k in range(count):
        own = measuring(rule, form, k)
        if own.ranked:
            _rank(group, tables, functions, own, made)
            continue
        if sizes is None:
            sums = _sums(group, tables, functions, own, made if k else None)
            firsts = group.cut.firsts
        else:
            there = _there(group.members, group)
            sums = sizes.to(home)[there, start : start + own.sums + 1].contiguous()
            firsts = _there(np.arange(group.size + 1), group)
            start += own.sums + 1
        number = functions[6 + 2 * k]
        launch(fused_factors, group.size, home, sums, firsts, group.rows, made, number, own)
    return made


def _sums(
    group: LaunchGroup,
    tables: tuple[Any, ...],
    functions: tuple[Any, ...],
    form: Form,
    factors: Tensor | None,
) -> Tensor:
    """Return what a shaping measures of each chunk, and the chunk's length."""
    programs, home = group.cut.programs, group.device
    sums = torch.empty(programs, form.sums + 1, dtype=torch.float64, device=home)
    more = (factors, sums, *functions[:3], functions[5 + 2 * form.measured], form)
    launch(fused_norms, programs, home, *tables, *more)
    return sums


def _rank(
    group: LaunchGroup,
    tables: tuple[Any, ...],
    functions: tuple[Any, ...],
    form: Form,
    factors: Tensor,
) -> None:
    """Write the order statistic that a shaping asks for, one for each tensor, among the factors."""
    home, setting = group.device, config(group.device)
    form = replace(form, bits=setting.bits, bins=1 << setting.bits)
    shifts = range(torch.finfo(group.compute).bits - form.bits, -1, -form.bits)
    counts = torch.zeros(len(shifts), group.size * form.bins, dtype=torch.int64, device=home)
    prefixes, ranks = torch.zeros(2, group.size, dtype=torch.int64, device=home)
    at, programs = 5 + 2 * form.measured, group.cut.programs
    read = (*tables, factors if form.measured else None, prefixes)
    parts = (*functions[:3], functions[at], form)
    for shift, own in zip(shifts, counts, strict=True):
        launch(fused_counts, programs, home, *read, own, shift, *parts)
        ends = functions[at + 1], shift == shifts[0], shift == 0, form
        launch(fused_digits, group.size, home, own, prefixes, ranks, group.rows, factors, *ends)


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
    form = Form(chunk=setting.chunk, block=setting.block, dtypes=(DTYPES[group.dtype],))
    sums = torch.empty(group.cut.programs, dtype=torch.float64, device=group.device)
    tables = group.cut.chunks, group.grads
    launch(fused_squares, group.cut.programs, group.device, *tables, sums, form)
    return sums


def _form(rule: Rule, group: LaunchGroup) -> Form:
    """Return the constants of a rule's kernels for a group."""
    setting = config(group.device)
    return known_form(rule, setting.chunk, setting.block, group.dtypes, group.compute)


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
def directed(values, row, factors, filtering, early, direction, late, form):
    """Return elements of a parameter, their update, and the new buffers of averages."""
    g, made = turned(values, row, factors, filtering, early, form)
    u, kept = direction(values[0], g, values[2 : form.middle], row[: form.first])
    if form.late > 0:
        u = late(values[0], g, u, factors[2], row[form.late :])
    return u, kept + made


@jit
def advance(places, at, mask, row, factors, seed, filtering, early, direction, late, apply, form):
    """Step elements: read them, apply the rule, write them."""
    values = every(places, at, mask, form)
    u, kept = directed(values, row, factors, filtering, early, direction, late, form)
    p, moving = values[0], values[form.own :]
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
    filtering: tl.constexpr,
    early: tl.constexpr,
    direction: tl.constexpr,
    late: tl.constexpr,
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
    shaped = numbers(factors, tensor, clipped, form)
    seed = named(keys, tensor, start)
    if length == form.chunk:
        for k in range(0, form.chunk, form.block):
            at = start + k + tl.arange(0, form.block)
            advance(
                places, at, None, row, shaped, seed, filtering, early, direction, late, apply, form
            )
    else:
        i = 0
        while i < tl.abs(length):
            lane = i + tl.arange(0, form.block)
            at, mask = start + lane, lane < tl.abs(length)
            advance(
                places, at, mask, row, shaped, seed, filtering, early, direction, late, apply, form
            )
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
