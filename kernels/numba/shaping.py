"""Shaping on the numba backend: sums over one tensor, the number they make, and what it changes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from numba import njit

from autotune.kernels.numba import cache
from autotune.kernels.numba.memory import Role, loads
from autotune.kernels.numba.numbers import FAST, NUMBERS, SUM, fixed, mapped, part, scalar
from autotune.kernels.plan import Dtypes
from autotune.kernels.rule import Rule


def directed(rule: Rule, dtype: torch.dtype) -> Any:
    """Return ``f(p, g, state, steering, factor, ending)``, an update and the direction's buffers.

    ``steering`` are the direction's scalars, ``ending`` those of the shaping.
    """
    direction = scalar(rule.direction.fn, dtype)
    if rule.shaping is None:
        return njit(inline="always")(
            lambda p, g, state, row, factor, end: direction(p, g, state, row)
        )
    shape, early = scalar(rule.shaping.shape, dtype), rule.shaping.early

    @njit(inline="always")
    def shaped_gradient(p: Any, g: Any, state: Any, row: Any, factor: Any, end: Any) -> Any:
        return direction(p, shape(p, g, g, factor, end), state, row)

    @njit(inline="always")
    def shaped_update(p: Any, g: Any, state: Any, row: Any, factor: Any, end: Any) -> Any:
        u, kept = direction(p, g, state, row)
        return shape(p, g, u, factor, end), kept

    return shaped_gradient if early else shaped_update


def ending(rule: Rule) -> Any:
    """Return ``f(row)``, the scalars of a rule's shaping."""
    start = len(rule.direction.scalars) + len(rule.application.scalars)
    return part(start, len(rule.scalars) - start)


def factor(rule: Rule, dtype: torch.dtype, roles: Sequence[Role]) -> Any:
    """Return ``f(addresses, size, clip, row, known, i)``, the number that shapes one tensor.

    ``known`` has its sums of squares and its number of elements in row i, or is empty.
    """
    constant = NUMBERS[dtype]
    if rule.shaping is None:
        one = constant(1.0)
        return njit(inline="always")(lambda addresses, size, clip, row, known, i: one)
    summed, fn = _summed(rule, dtype, roles), scalar(rule.shaping.factor, torch.float64)
    count, end = rule.shaping.sums, ending(rule)
    roots = mapped(count, lambda value, by: math.sqrt(value))
    doubled = mapped(len(rule.shaping.scalars), lambda value, by: np.float64(value))

    @njit(nogil=True, fastmath=SUM, error_model="numpy")
    @cache.named(cache.known("factor", rule, dtype, roles))
    def factor(at: Any, size: Any, clip: Any, row: Any, known: Any, i: Any) -> Any:
        if len(known):
            sums, elements = fixed(known[i], count), known[i, count]
        else:
            sums, elements = summed(at, size, clip, row), np.float64(size)
        return constant(fn(roots(sums, None), elements, doubled(end(row), None)))

    return factor


@functools.cache
def measured(rule: Rule, dtype: torch.dtype, dtypes: Dtypes) -> Callable[..., None]:
    """Return the loop over a table that writes sums of squares and numbers of elements."""
    roles = [Role(i, held) for i, held in enumerate(dtypes)]
    summed, count, sums = _summed(rule, dtype, roles), len(roles), rule.shaped.sums
    name = cache.known("sizes", rule, dtype, dtypes)

    @cache.kept(name)
    @njit(nogil=True)
    @cache.named(name)
    def run(addresses: Any, sizes: Any, rows: Any, clips: Any, made: Any) -> None:
        for i in range(len(sizes)):
            found = summed(fixed(addresses[i], count), sizes[i], clips[i], rows[i])
            for j in range(sums):
                made[i, j] = found[j]
            made[i, sums] = sizes[i]

    return cast("Callable[..., None]", run)


def _summed(rule: Rule, dtype: torch.dtype, roles: Sequence[Role]) -> Any:
    """Return ``f(addresses, size, clip, row)``, the sums of squares over one tensor.

    The direction is computed here and again in the step, which reads 16 more bytes for each
    parameter element; to keep the update in between would move as many.
    """
    direction, measure = scalar(rule.direction.fn, dtype), scalar(rule.shaped.measure, dtype)
    first, own = len(rule.direction.scalars), len(rule.direction.buffers) + 2
    inputs, kept_of = loads(roles[:2], dtype), loads(roles[2:own], dtype)
    steering, end, grown = part(0, first), ending(rule), _grown(rule.shaped.sums)
    early, nothing = rule.shaped.early, (0.0,) * rule.shaped.sums

    @njit(inline="always", fastmath=FAST, error_model="numpy")
    def values_of(p: Any, g: Any, state: Any, row: Any, ending: Any) -> Any:
        if early:
            return measure(p, g, g, state, ending)
        u, kept = direction(p, g, state, row)
        return measure(p, g, u, kept, ending)

    @njit(nogil=True, fastmath=SUM, error_model="numpy")
    @cache.named(cache.known("summed", rule, dtype, roles))
    def summed(at: Any, size: Any, clip: Any, row: Any) -> Any:
        sums, turning, ending = nothing, steering(row), end(row)
        for k in range(size):
            p, g = inputs(at, k)
            sums = grown(sums, values_of(p, clip * g, kept_of(at, k), turning, ending))
        return sums

    return summed


def _grown(count: int) -> Any:
    """Return ``f(sums, values)``, which adds the square of each value to its sum."""
    if not count:
        return njit(inline="always")(lambda sums, values: ())
    before, last = _grown(count - 1), count - 1

    @njit(inline="always")
    def grown(sums: Any, values: Any) -> Any:
        value = np.float64(values[last])
        return (*before(sums, values), sums[last] + value * value)

    return grown
