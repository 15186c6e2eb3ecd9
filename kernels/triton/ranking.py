"""Kernels of order statistics: counts of numbers by their bits, from the upper bits down.

The bits of floats that are not negative are sorted as the floats are, and those of NaN come last.
Counts are whole numbers, so a step repeats bit for bit in whatever order programs add them.
"""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.triton.memory import added, chunk_of, factor, line, roles
from autotune.kernels.triton.shaping import doubled, measured, numbers


@jit
def words(value, compute):
    """Return the bits of absolute values."""
    if compute == tl.float64:
        return value.to(tl.int64, bitcast=True) & 0x7FFFFFFFFFFFFFFF
    else:
        return value.to(tl.int32, bitcast=True) & 0x7FFFFFFF


@jit
def counted(value, prefix, shift, inside, form):
    """Count values by some of their bits, of those whose bits above are known."""
    bits = words(value, form.compute) >> shift
    chosen = (bits >> form.bits) == prefix
    if inside is not None:
        chosen = chosen & inside
    return tl.histogram((bits & (form.bins - 1)).to(tl.int32), form.bins, mask=chosen)


@jit
def fused_counts(
    chunks,
    table,
    grads,
    rows,
    clip,
    factors,
    prefixes,
    counts,
    shift,
    filtering: tl.constexpr,
    early: tl.constexpr,
    direction: tl.constexpr,
    measure: tl.constexpr,
    form: tl.constexpr,
):
    """Add to a tensor's counts what a shaping measures of one chunk."""
    tensor, start, length = chunk_of(chunks)
    places = roles(table, grads, tensor, len(form.dtypes))
    row = line(rows, tensor, form.width)
    clipped = factor(clip, tensor * form.apart, form.compute)
    shaped = numbers(factors, tensor, clipped, form)
    prefix, totals = tl.load(prefixes + tensor), tl.full((form.bins,), 0, tl.int32)
    if length == form.chunk:
        for k in range(0, form.chunk, form.block):
            at = start + k + tl.arange(0, form.block)
            values = measured(
                places, at, None, row, shaped, filtering, early, direction, measure, form
            )
            totals += counted(values[0], prefix, shift, None, form)
    else:
        i = 0
        while i < tl.abs(length):
            lane = i + tl.arange(0, form.block)
            inside = lane < tl.abs(length)
            here = start + lane
            values = measured(
                places, here, inside, row, shaped, filtering, early, direction, measure, form
            )
            totals += counted(values[0], prefix, shift, inside, form)
            i += form.block
    spots = counts + form.bins * tensor + tl.arange(0, form.bins)
    tl.atomic_add(spots, totals.to(tl.int64), mask=totals > 0, sem="relaxed")


@jit
def fused_digits(
    counts,
    prefixes,
    ranks,
    rows,
    factors,
    number: tl.constexpr,
    first: tl.constexpr,
    last: tl.constexpr,
    form: tl.constexpr,
):
    """Find the next bits of one tensor's order statistic; after the last it is a factor."""
    tensor = tl.program_id(0)
    found = tl.load(counts + form.bins * tensor + tl.arange(0, form.bins))
    if first:  # every element is counted
        size = tl.reduce(found, 0, added)
        end = doubled(line(rows, tensor, form.width)[form.begin : form.end])
        above = number((), size.to(tl.float64), end).to(tl.int64)
        prefix, rank = size * 0, size - 1 - tl.minimum(above, size - 1)
    else:
        prefix, rank = tl.load(prefixes + tensor), tl.load(ranks + tensor)
    below = tl.associative_scan(found, 0, added) <= rank
    prefix = form.bins * prefix + tl.reduce(below.to(tl.int64), 0, added)
    tl.store(prefixes + tensor, prefix)
    tl.store(ranks + tensor, rank - tl.reduce(tl.where(below, found, 0), 0, added))
    if last:
        if form.compute == tl.float64:
            value = prefix.to(tl.float64, bitcast=True)
        else:
            value = prefix.to(tl.int32).to(tl.float32, bitcast=True).to(tl.float64)
        tl.store(factors + tensor * form.shapings + form.measured, value)
