"""The torch backend: a rule over one tensor after another, on any device and in any dtype.

Half-precision parameters are computed in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor

from autotune.kernels.addresses import check_freed, in_memory, lazy
from autotune.kernels.lang import plain
from autotune.kernels.layout import copied, dense, lies_like, precision, sums
from autotune.kernels.rule import Key, Rule, Update, keys_of, replicas
from autotune.kernels.rules.dither import dithered, places

_PIECE = 1 << 16  # elements


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
            _step_one(rule, one, own, _factor(rule, one, own, None if sizes is None else sizes[i]))


def sizes(rule: Rule, updates: Sequence[Update], clip: Tensor | None) -> Tensor:
    """Return what a rule's shaping measures of each tensor; see ``backends.Backend``."""
    check_freed([t for update in updates for t in update[:2]])
    found = torch.stack([_roots(rule, update, clip) for update in updates]).square()
    counts = [[float(update.p.numel())] for update in updates]
    return torch.cat([found, torch.tensor(counts, dtype=found.dtype, device=found.device)], dim=1)


def _factor(rule: Rule, update: Update, clip: Tensor | None, sizes: Tensor | None) -> Tensor | None:
    """Return the number that shapes a tensor, if any; ``sizes`` is its row, if that is known."""
    if rule.shaping is None:
        return None
    roots, size = (_roots(rule, update, clip), update.p.numel()) if sizes is None else _known(sizes)
    factor: Tensor = plain(rule.shaping.factor)(tuple(roots), size, _ending(rule, update))
    return factor


def _known(sizes: Tensor) -> tuple[Tensor, Tensor]:
    return sizes[:-1].sqrt(), sizes[-1]


def _ending(rule: Rule, update: Update) -> tuple[float, ...]:
    """Return the scalars of a rule's shaping."""
    first = len(rule.direction.scalars) + len(rule.application.scalars)
    return cast("tuple[float, ...]", update.row[first:])


def _step_one(rule: Rule, update: Update, clip: Tensor | None, factor: Tensor | None) -> None:
    first = len(rule.direction.scalars)
    last, own = first + len(rule.application.scalars), len(rule.direction.buffers)
    apply = plain(rule.application.fn)
    for start, piece in _pieces(update):
        p, u, kept = _directed(rule, piece, clip, factor)
        moving = tuple(buffer.to(p.dtype) for buffer in piece.state[own:])
        if rule.relative:
            moving = tuple(p + difference for difference in moving)
        new, moved = apply(p, u, moving, piece.row[first:last])
        _keep(rule, piece, start, new, (*kept, *moved))


def _keep(rule: Rule, piece: Update, start: int, new: Tensor, values: Sequence[Tensor]) -> None:
    """Write a parameter and its buffers, each in the form that the rule keeps."""
    at = places(piece.p) + start if rule.dithered else piece.p
    _store(rule, 0, piece.p, new, at, piece.key)
    if rule.relative:
        home, own = piece.p.to(new.dtype), len(rule.direction.buffers)
        values = (*values[:own], *(value - home for value in values[own:]))
    for role, (buffer, value) in enumerate(zip(piece.state, values, strict=True), start=2):
        _store(rule, role, buffer, value, at, piece.key)


def _store(rule: Rule, role: int, tensor: Tensor, value: Tensor, at: Tensor, key: Key) -> None:
    if role in rule.dithered and tensor.dtype is torch.bfloat16:
        [number] = keys_of(key, 1)
        value = dithered(value, at, number, role)
    tensor.copy_(value)


def _loaded(
    rule: Rule, update: Update, clip: Tensor | None
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Return a parameter, its gradient and the direction's buffers, as a step computes."""
    dtype = precision(update.p)
    p, g = update.p.to(dtype), update.g.to(dtype)
    if clip is not None:
        g = g * clip.to(g)  # or a float64 factor would widen a 0-dim gradient
    state = tuple(buffer.to(dtype) for buffer in update.state[: len(rule.direction.buffers)])
    return p, g, state


def _directed(
    rule: Rule, update: Update, clip: Tensor | None, factor: Tensor | None
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Return the parameter, its update and the direction's new buffers; write nothing."""
    p, g, state = _loaded(rule, update, clip)
    if rule.shaping is not None and rule.shaping.early and factor is not None:
        g = plain(rule.shaping.shape)(p, g, g, factor.to(g), _ending(rule, update))
    u, kept = plain(rule.direction.fn)(p, g, state, update.row[: len(rule.direction.scalars)])
    if rule.shaping is not None and not rule.shaping.early:
        u = plain(rule.shaping.shape)(p, g, u, factor, _ending(rule, update))
    return p, u, kept


def _measured(rule: Rule, update: Update, clip: Tensor | None) -> tuple[Tensor, ...]:
    """Return the values whose squares are summed for a rule's shaping."""
    p, g, state = _loaded(rule, update, clip)
    u = g
    if not rule.shaped.early:
        row = update.row[: len(rule.direction.scalars)]
        u, state = plain(rule.direction.fn)(p, g, state, row)
    values: tuple[Tensor, ...] = plain(rule.shaped.measure)(p, g, u, state, _ending(rule, update))
    return values


def _roots(rule: Rule, update: Update, clip: Tensor | None) -> Tensor:
    """Return the roots of the sums of squares that a rule's shaping measures."""
    norm, dtype = torch.linalg.vector_norm, sums(update.p.device)
    found = [
        torch.stack([norm(value, dtype=dtype) for value in _measured(rule, piece, clip)])
        for _, piece in _pieces(update)
    ]
    roots: Tensor = norm(torch.stack(found), dim=0)
    return roots


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
