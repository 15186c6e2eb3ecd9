"""Shaping on the numba backend: sums over one tensor, the number they make, and what it changes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from numba import njit

from autotune.kernels.numba import cache, ranking
from autotune.kernels.numba.memory import SCRATCH, Role, loads, store
from autotune.kernels.numba.numbers import FAST, NUMBERS, SUM, fixed, mapped, part, scalar
from autotune.kernels.plan import Dtypes
from autotune.kernels.rule import Rule, place_of


def parted(rule: Rule) -> Any:
    """Return ``f(row)``: the scalars of the direction, of the filter and of each shaping.

    A loop reads them before its elements: behind its writes it would have to read them again.
    """
    spans = rule.spans
    places = (spans.direction, spans.filter, *spans.shapings)
    return _parted([part(place.start, place.stop - place.start) for place in places])


def _parted(each: Sequence[Any]) -> Any:
    if not each:
        return njit(inline="always")(lambda row: ())
    before, last = _parted(each[:-1]), each[-1]
    return njit(inline="always")(lambda row: (*before(row), last(row)))


def turning(rule: Rule, dtype: torch.dtype, count: int) -> Any:
    """Return ``f(p, g, state, parts, factors)``: a gradient, filtered and shaped, and buffers.

    The buffers are the direction's and the new ones of the filter. ``parts`` are scalars as
    ``parted`` returns them, ``count`` is how many of the factors are known.
    """
    own, more = len(rule.direction.buffers), len(rule.averages)
    mine, others = picked(0, own), picked(own, more)
    early = count > 0 and rule.shapings[0].early
    filtered = _filtered(rule, dtype)
    if not early:

        @njit(inline="always")
        def plainly(p: Any, g: Any, state: Any, parts: Any, factors: Any) -> Any:
            g, made = filtered(p, g, others(state), parts[1])
            return g, mine(state), made

        return plainly
    shape = scalar(rule.shapings[0].shape, dtype)

    @njit(inline="always")
    def shaped(p: Any, g: Any, state: Any, parts: Any, factors: Any) -> Any:
        g, made = filtered(p, g, others(state), parts[1])
        return shape(p, g, g, factors[0], parts[2]), mine(state), made

    return shaped


def _filtered(rule: Rule, dtype: torch.dtype) -> Any:
    if rule.filter is None:
        return njit(inline="always")(lambda p, g, state, scalars: (g, ()))
    return scalar(rule.filter.fn, dtype)


def picked(first: int, last: int) -> Any:
    """Return ``f(values)``: some of a tuple's values."""
    if first == last:
        return njit(inline="always")(lambda values: ())
    return njit(inline="always")(lambda values: values[first:last])


def directed(rule: Rule, dtype: torch.dtype) -> Any:
    """Return ``f(p, g, state, parts, factors)``, an update and the new buffers of averages."""
    turned, direction = turning(rule, dtype, len(rule.shapings)), scalar(rule.direction.fn, dtype)
    if not rule.shapings or rule.shapings[-1].early:

        @njit(inline="always")
        def plainly(p: Any, g: Any, state: Any, parts: Any, factors: Any) -> Any:
            g, own, made = turned(p, g, state, parts, factors)
            u, kept = direction(p, g, own, parts[0])
            return u, (*kept, *made)

        return plainly
    shape, last = scalar(rule.shapings[-1].shape, dtype), len(rule.shapings) - 1
    ending = last + 2

    @njit(inline="always")
    def shaped(p: Any, g: Any, state: Any, parts: Any, factors: Any) -> Any:
        g, own, made = turned(p, g, state, parts, factors)
        u, kept = direction(p, g, own, parts[0])
        return shape(p, g, u, factors[last], parts[ending]), (*kept, *made)

    return shaped


def factors(rule: Rule, dtype: torch.dtype, roles: Sequence[Role], count: int) -> Any:
    """Return ``f(addresses, size, clip, row, known, i)``, the first numbers that shape a tensor.

    ``known`` has its sums of squares and its number of elements in row i, or is empty.
    """
    if not count:
        return njit(inline="always")(lambda addresses, size, clip, row, known, i: ())
    ranked = rule.shapings[count - 1].ranked
    before = factors(rule, dtype, roles, count - 1)
    last = (_ranked if ranked else _factor)(rule, dtype, roles, count - 1)

    @njit(inline="always")
    def found(at: Any, size: Any, clip: Any, row: Any, known: Any, i: Any) -> Any:
        first = before(at, size, clip, row, known, i)
        return (*first, last(at, size, clip, row, known, i, first))

    return found


def _factor(rule: Rule, dtype: torch.dtype, roles: Sequence[Role], k: int) -> Any:
    """Return ``f(addresses, size, clip, row, known, i, before)``, the number of one shaping."""
    constant, shaping = NUMBERS[dtype], rule.shapings[k]
    summed, fn = _summed(rule, dtype, roles, k), scalar(shaping.factor, torch.float64)
    count, parts_of, ending = shaping.sums, parted(rule), k + 2
    roots = mapped(count, lambda value, by: math.sqrt(value))
    doubled = mapped(len(shaping.scalars), lambda value, by: np.float64(value))
    start = sum(each.sums + 1 for each in rule.shapings[:k])

    @njit(nogil=True, fastmath=SUM, error_model="numpy")
    @cache.named(cache.known("factor", rule, dtype, roles, k))
    def factor(at: Any, size: Any, clip: Any, row: Any, known: Any, i: Any, before: Any) -> Any:
        if len(known):
            sums, elements = fixed(known[i, start:], count), known[i, start + count]
        else:
            sums, elements = summed(at, size, clip, row, before), np.float64(size)
        return constant(fn(roots(sums, None), elements, doubled(parts_of(row)[ending], None)))

    return factor


@functools.cache
def measured(rule: Rule, dtype: torch.dtype, dtypes: Dtypes, k: int) -> Callable[..., None]:
    """Return the loop over a table that writes sums of squares and numbers of elements."""
    roles = [Role(i, held) for i, held in enumerate(dtypes)]
    summed, count, sums = _summed(rule, dtype, roles, k), len(roles), rule.shaped(k).sums
    before, name = factors(rule, dtype, roles, k), cache.known("sizes", rule, dtype, dtypes, k)

    @cache.kept(name)
    @njit(nogil=True)
    @cache.named(name)
    def run(addresses: Any, sizes: Any, rows: Any, clips: Any, known: Any, made: Any) -> None:
        for i in range(len(sizes)):
            at, row, clip = fixed(addresses[i], count), rows[i], clips[i]
            first = before(at, sizes[i], clip, row, known, i)
            found = summed(at, sizes[i], clip, row, first)
            for j in range(sums):
                made[i, j] = found[j]
            made[i, sums] = sizes[i]

    return cast("Callable[..., None]", run)


def _summed(rule: Rule, dtype: torch.dtype, roles: Sequence[Role], k: int) -> Any:
    """Return ``f(addresses, size, clip, row, before)``, the sums of squares over one tensor.

    The direction is computed here and again in the step, which reads 16 more bytes for each
    parameter element; to keep the update in between would move as many.
    """
    count, own = rule.shapings[k].sums, len(rule.averages) + 2
    inputs, kept_of = loads(roles[:2], dtype), loads(roles[2:own], dtype)
    values_of, grown, parts_of = _values(rule, dtype, k), _grown(count), parted(rule)
    nothing = (0.0,) * count

    @njit(nogil=True, fastmath=SUM, error_model="numpy")
    @cache.named(cache.known("summed", rule, dtype, roles, k))
    def summed(at: Any, size: Any, clip: Any, row: Any, before: Any) -> Any:
        sums, parts = nothing, parts_of(row)
        for n in range(size):
            p, g = inputs(at, n)
            sums = grown(sums, values_of(p, clip * g, kept_of(at, n), parts, before))
        return sums

    return summed


def _ranked(rule: Rule, dtype: torch.dtype, roles: Sequence[Role], k: int) -> Any:
    """Return ``f(addresses, size, clip, row, known, i, before)``, the number of a ranked shaping.

    What is measured is written down, a number for each element of one tensor at a time: to compute
    it again for each pass over its bits would take longer.
    """
    constant, shaping, own = NUMBERS[dtype], rule.shapings[k], len(rule.averages) + 2
    inputs, kept_of = loads(roles[:2], dtype), loads(roles[2:own], dtype)
    values_of, fn = _values(rule, dtype, k), scalar(shaping.factor, torch.float64)
    parts_of, ending, statistic = parted(rule), k + 2, ranking.statistic(dtype)
    doubled = mapped(len(shaping.scalars), lambda value, by: np.float64(value))
    write, place = store(Role(SCRATCH, dtype)), njit(inline="always")(place_of)

    @njit(nogil=True, fastmath=FAST, error_model="numpy")
    @cache.named(cache.known("ranked", rule, dtype, roles, k))
    def factor(at: Any, size: Any, clip: Any, row: Any, known: Any, i: Any, before: Any) -> Any:
        if not size:
            return constant(0.0)
        made, parts = np.empty(size, constant), parts_of(row)
        there = np.int64(made.ctypes.data)
        for n in range(size):
            p, g = inputs(at, n)
            value = values_of(p, clip * g, kept_of(at, n), parts, before)[0]
            write(there, n, abs(value))
        count = fn((), np.float64(size), doubled(parts[ending], None))
        return statistic(made, place(count, size))

    return factor


def _values(rule: Rule, dtype: torch.dtype, k: int) -> Any:
    """Return ``f(p, g, state, parts, before)``: what a shaping measures of one element."""
    shaping, turned, ending = rule.shapings[k], turning(rule, dtype, k), k + 2
    direction, measure = scalar(rule.direction.fn, dtype), scalar(shaping.measure, dtype)
    early = shaping.early

    @njit(inline="always", fastmath=FAST, error_model="numpy")
    def values_of(p: Any, g: Any, state: Any, parts: Any, before: Any) -> Any:
        g, own, _ = turned(p, g, state, parts, before)
        if early:
            return measure(p, g, g, own, parts[ending])
        u, kept = direction(p, g, own, parts[0])
        return measure(p, g, u, kept, parts[ending])

    return values_of


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
