"""The torch backend: a rule over one tensor after another, on any device and in any dtype.

Half-precision parameters are computed in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from autotune.kernels.addresses import check_freed, in_memory, lazy
from autotune.kernels.lang import plain
from autotune.kernels.layout import copied, dense, lies_like, precision, sums
from autotune.kernels.rule import Key, Rule, Update, keys_of, place_of, replicas
from autotune.kernels.rules.dither import dithered, places

_PIECE = 1 << 16  # elements

Factors = tuple[Tensor, ...]  # one for each shaping


def squares(grads: Sequence[Tensor]) -> Tensor:
    """Return the sum of all squares, in double precision, on the first gradient's device.

    Devices without double precision sum in single.
    """
    check_freed(grads)
    norm, home = torch.linalg.vector_norm, grads[0].device
    total = [norm(g, dtype=sums(g.device)).to(home, sums(home)) for g in grads]
    return torch.stack(total).square().sum()


def squares_of_each(stacks: Sequence[Tensor], count: int) -> Tensor:
    """Return the sum of squares of each replica; see ``backends.Backend``."""
    return torch.stack([squares(one) for one in zip(*(g.unbind() for g in stacks), strict=True)])


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
    check_freed([t for update in updates for t in update[:2]])
    for i, update in enumerate(updates):
        for k, one in enumerate(replicas(update)):
            own = clip if clip is None or clip.ndim == 0 else clip[k]
            known = None if sizes is None else sizes[i]
            _step_one(rule, one, own, _factors(rule, one, own, len(rule.shapings), known))


def sizes(
    rule: Rule, updates: Sequence[Update], clip: Tensor | None, known: Tensor | None = None
) -> Tensor:
    """Return what a rule's next shaping measures of each tensor; see ``backends.Backend``."""
    check_freed([t for update in updates for t in update[:2]])
    k = rule.measured(known)
    rule.shaped(k)
    found = []
    for i, update in enumerate(updates):
        before = _factors(rule, update, clip, k, None if known is None else known[i])
        found.append(_roots(rule, update, clip, before))
    made = torch.stack(found).square()
    counts = [[float(update.p.numel())] for update in updates]
    return torch.cat([made, torch.tensor(counts, dtype=made.dtype, device=made.device)], dim=1)


def _factors(
    rule: Rule, update: Update, clip: Tensor | None, count: int, sizes: Tensor | None
) -> Factors:
    """Return the numbers that shape a tensor; ``sizes`` is its row, if that is known."""
    found: Factors = ()
    for k, shaping in enumerate(rule.shapings[:count]):
        if shaping.ranked:
            found = (*found, _ranked(rule, update, clip, found))
            continue
        size: Tensor | int = update.p.numel()
        if sizes is None:
            roots = _roots(rule, update, clip, found)
        else:
            roots, size = sizes[: shaping.sums].sqrt(), sizes[shaping.sums]
            sizes = sizes[shaping.sums + 1 :]
        made: Tensor = plain(shaping.factor)(tuple(roots), size, update.row[rule.spans.shapings[k]])
        found = (*found, made)
    return found


def _step_one(rule: Rule, update: Update, clip: Tensor | None, factors: Factors) -> None:
    own = len(rule.averages)
    apply = plain(rule.application.fn)
    for start, piece in _pieces(update):
        p, u, kept = _directed(rule, piece, clip, factors)
        moving = tuple(buffer.to(p.dtype) for buffer in piece.state[own:])
        if rule.relative:
            moving = tuple(p + difference for difference in moving)
        new, moved = apply(p, u, moving, piece.row[rule.spans.application])
        _keep(rule, piece, start, new, (*kept, *moved))


def _keep(rule: Rule, piece: Update, start: int, new: Tensor, values: Sequence[Tensor]) -> None:
    """Write a parameter and its buffers, each in the form that the rule keeps."""
    at = places(piece.p) + start if rule.dithered else piece.p
    _store(rule, 0, piece.p, new, at, piece.key)
    if rule.relative:
        home, own = piece.p.to(new.dtype), len(rule.averages)
        values = (*values[:own], *(value - home for value in values[own:]))
    for role, (buffer, value) in enumerate(zip(piece.state, values, strict=True), start=2):
        _store(rule, role, buffer, value, at, piece.key)


def _store(rule: Rule, role: int, tensor: Tensor, value: Tensor, at: Tensor, key: Key) -> None:
    if role in rule.dithered and tensor.dtype is torch.bfloat16:
        [number] = keys_of(key, 1)
        value = dithered(value, at, number, role)
    tensor.copy_(value)


class _Turning(NamedTuple):
    """What a direction gets, and the filter's new buffers."""

    p: Tensor
    g: Tensor
    state: tuple[Tensor, ...]
    filtered: tuple[Tensor, ...]


def _turning(rule: Rule, update: Update, clip: Tensor | None, factors: Factors) -> _Turning:
    """Return a parameter, its gradient, filtered and shaped, and buffers, as a step computes."""
    dtype, own = precision(update.p), len(rule.direction.buffers)
    p, g = update.p.to(dtype), update.g.to(dtype)
    if clip is not None:
        g = g * clip.to(g)  # or a float64 factor would widen a 0-dim gradient
    state = tuple(buffer.to(dtype) for buffer in update.state[: len(rule.averages)])
    filtered = state[own:]
    if rule.filter is not None:
        g, filtered = plain(rule.filter.fn)(p, g, filtered, update.row[rule.spans.filter])
    if factors and rule.shapings[0].early:
        row = update.row[rule.spans.shapings[0]]
        g = plain(rule.shapings[0].shape)(p, g, g, factors[0].to(g), row)
    return _Turning(p, g, state[:own], filtered)


def _directed(
    rule: Rule, update: Update, clip: Tensor | None, factors: Factors
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Return the parameter, its update and the new buffers of averages; write nothing."""
    p, g, state, filtered = _turning(rule, update, clip, factors)
    u, kept = plain(rule.direction.fn)(p, g, state, update.row[rule.spans.direction])
    if rule.shapings and not rule.shapings[-1].early:
        row = update.row[rule.spans.shapings[-1]]
        u = plain(rule.shapings[-1].shape)(p, g, u, factors[-1], row)
    return p, u, (*kept, *filtered)


def _measured(
    rule: Rule, update: Update, clip: Tensor | None, factors: Factors
) -> tuple[Tensor, ...]:
    """Return the values whose squares are summed for the shaping that follows these factors."""
    k = len(factors)
    p, g, state, _ = _turning(rule, update, clip, factors)
    u = g
    if not rule.shapings[k].early:
        u, state = plain(rule.direction.fn)(p, g, state, update.row[rule.spans.direction])
    row = update.row[rule.spans.shapings[k]]
    values: tuple[Tensor, ...] = plain(rule.shapings[k].measure)(p, g, u, state, row)
    return values


def _roots(rule: Rule, update: Update, clip: Tensor | None, factors: Factors) -> Tensor:
    """Return the roots of the sums that the shaping after these factors measures."""
    norm, dtype = torch.linalg.vector_norm, sums(update.p.device)
    found = [
        torch.stack([norm(value, dtype=dtype) for value in _measured(rule, piece, clip, factors)])
        for _, piece in _pieces(update)
    ]
    roots: Tensor = norm(torch.stack(found), dim=0)
    return roots


def _ranked(rule: Rule, update: Update, clip: Tensor | None, factors: Factors) -> Tensor:
    """Return the order statistic that the shaping after these factors asks for."""
    shaping, row = rule.shapings[len(factors)], update.row[rule.spans.shapings[len(factors)]]
    size = update.p.numel()
    pieces = [_measured(rule, piece, clip, factors)[0] for _, piece in _pieces(update)]
    values = torch.cat([piece.abs().reshape(-1) for piece in pieces])
    if not size:
        return values.sum()
    place = place_of(plain(shaping.factor)((), float(size), row), size)
    if values.is_cpu:
        return values.kthvalue(place + 1).values
    # CUDA's ``kthvalue`` is refused by torch where algorithms must be deterministic.
    return values.sort().values[place]


def _flat(update: Update) -> list[Tensor] | None:
    """Return parameter, gradient and buffers in the order of memory, if they share one block's.

    A gradient of another order is copied: that is one temporary instead of one for each operation.
    """
    p, g, state = update.p, update.g, update.state
    if not all(t.is_cpu and in_memory(type(t)) for t in (p, g, *state)):
        return None
    if all(t.is_contiguous() for t in (p, g, *state)):
        return [t.view(-1) for t in (p, g, *state)]
    if not dense(p) or any(lazy(t) or not lies_like(t, p) for t in (p, *state)):
        return None
    if lazy(g) or not lies_like(g, p):
        g = copied(g, p, g.dtype)
    return [t.as_strided((t.numel(),), (1,)) for t in (p, g, *state)]


def _pieces(update: Update) -> Iterator[tuple[int, Update]]:
    """Cut large tensors into pieces whose temporaries fit into the processor's cache.

    Yield each piece with the number of its first element.
    """
    size = update.p.numel()
    flat = _flat(update) if size > _PIECE else None
    if flat is None:
        yield 0, update
        return
    for start in range(0, size, _PIECE):
        p, g, *state = (t[start : start + _PIECE] for t in flat)
        yield start, update._replace(p=p, g=g, state=tuple(state))
