"""The torch backend: a rule over one tensor after another, on any device and in any dtype.

Half-precision parameters are computed in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from autotune.kernels.addresses import check_freed, in_memory, lazy
from autotune.kernels.lang import plain
from autotune.kernels.layout import copied, dense, lies_like, precision, sums
from autotune.kernels.rule import Key, Rule, Update, keys_of, replicas
from autotune.kernels.rules import norms
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
            trust = None
            if rule.trust:
                both = _norms(rule, one, own) if sizes is None else sizes[i].sqrt()
                trust = plain(norms.ratio)(*both, one.row[-1])
            _step_one(rule, one, own, trust)


def sizes(rule: Rule, updates: Sequence[Update], clip: Tensor | None) -> Tensor:
    """Return the sums of squares of each parameter and of its update, a row for each tensor."""
    check_freed([t for update in updates for t in update[:2]])
    return torch.stack([_norms(rule, update, clip) for update in updates]).square()


def _step_one(rule: Rule, update: Update, clip: Tensor | None, trust: Tensor | None) -> None:
    first = len(rule.direction.scalars)
    last, own = first + len(rule.application.scalars), len(rule.direction.buffers)
    apply = plain(rule.application.fn)
    for start, piece in _pieces(update):
        p, u, kept = _directed(rule, piece, clip)
        if trust is not None:
            u = u * trust
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


def _directed(
    rule: Rule, update: Update, clip: Tensor | None
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Return the parameter, its update and the direction's new buffers; write nothing."""
    dtype = precision(update.p)
    p, g = update.p.to(dtype), update.g.to(dtype)
    if clip is not None:
        g = g * clip.to(g)  # or a float64 factor would widen a 0-dim gradient
    state = tuple(buffer.to(dtype) for buffer in update.state[: len(rule.direction.buffers)])
    u, kept = plain(rule.direction.fn)(p, g, state, update.row[: len(rule.direction.scalars)])
    return p, u, kept


def _norms(rule: Rule, update: Update, clip: Tensor | None) -> Tensor:
    """Return the norms of a parameter and of its update."""
    norm, dtype = torch.linalg.vector_norm, sums(update.p.device)
    found = [
        torch.stack([norm(p, dtype=dtype), norm(u, dtype=dtype)])
        for p, u, _ in (_directed(rule, piece, clip) for _, piece in _pieces(update))
    ]
    both: Tensor = norm(torch.stack(found), dim=0)
    return both


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
