"""Kernels of shaping: sums over the chunks of a tensor, and the number they make."""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.triton.memory import added, chunk_of, every, factor, line, roles, squared


@jit
def numbers(factors, tensor, clip, form):
    """Return what gradients are multiplied by, and a tensor's numbers for gradient and update."""
    first = tensor * form.shapings
    early, late = factor(factors, first, form.compute), 1.0
    if form.shapings > 0:
        late = factor(factors, first + form.shapings - 1, form.compute)
    return clip, early, late


@jit
def turned(values, row, factors, filtering, early, form):
    """Return a gradient, filtered and shaped, and the filter's new buffers."""
    p, g, made = values[0], values[1] * factors[0], ()
    if form.filtering:
        g, made = filtering(p, g, values[form.middle : form.own], row[form.last : form.filtered])
    if form.early > 0:
        g = early(p, g, g, factors[1], row[form.filtered : form.early])
    return g, made


@jit
def measured(places, at, mask, row, factors, filtering, early, direction, measure, form):
    """Return what a shaping measures of elements."""
    values = every(places, at, mask, form)
    p, state, end = values[0], values[2 : form.middle], row[form.begin : form.end]
    g, _made = turned(values, row, factors, filtering, early, form)
    if form.of_gradient:
        return measure(p, g, g, state, end)
    else:
        u, kept = direction(p, g, state, row[: form.first])
        return measure(p, g, u, kept, end)


@jit
def zeros(count: tl.constexpr, form):
    """Return sums that begin at zero."""
    sums = ()
    for _ in tl.static_range(count):
        sums += (tl.full((form.block,), 0.0, tl.float64),)  # type: ignore[assignment]
    return sums


@jit
def grown(sums, values, inside):
    """Add the square of each value to its sum, where it is inside of its tensor."""
    made = ()
    for i in tl.static_range(len(sums)):
        value = squared(values[i])
        if inside is not None:
            value = tl.where(inside, value, 0.0)
        made += (sums[i] + value,)
    return made


@jit
def fused_norms(
    chunks,
    table,
    grads,
    rows,
    clip,
    factors,
    sums,
    filtering: tl.constexpr,
    early: tl.constexpr,
    direction: tl.constexpr,
    measure: tl.constexpr,
    form: tl.constexpr,
):
    """Sum the squares of what a shaping measures of one chunk, and write the chunk's length."""
    tensor, start, length = chunk_of(chunks)
    places = roles(table, grads, tensor, len(form.dtypes))
    row = line(rows, tensor, form.width)
    clipped = factor(clip, tensor * form.apart, form.compute)
    shaped = numbers(factors, tensor, clipped, form)
    totals = zeros(form.sums, form)
    if length == form.chunk:
        for k in range(0, form.chunk, form.block):
            at = start + k + tl.arange(0, form.block)
            values = measured(
                places, at, None, row, shaped, filtering, early, direction, measure, form
            )
            totals = grown(totals, values, None)
    else:
        i = 0
        while i < tl.abs(length):
            lane = i + tl.arange(0, form.block)
            inside = lane < tl.abs(length)
            here = start + lane
            values = measured(
                places, here, inside, row, shaped, filtering, early, direction, measure, form
            )
            totals = grown(totals, values, inside)
            i += form.block
    here = sums + (form.sums + 1) * tl.program_id(0).to(tl.int64)
    for j in tl.static_range(len(totals)):
        tl.store(here + j, tl.reduce(totals[j], 0, added))
    tl.store(here + form.sums, tl.abs(length).to(tl.float64))


@jit
def summed(sums, firsts, tensor, form):
    """Return the sums over one tensor's chunks, and the number of its elements."""
    k, last = tl.load(firsts + tensor), tl.load(firsts + tensor + 1)
    totals = zeros(form.sums + 1, form)
    while k < last:
        at = k + tl.arange(0, form.block)
        more = ()
        for j in tl.static_range(len(totals)):
            spot = sums + (form.sums + 1) * at + j
            more += (totals[j] + tl.load(spot, mask=at < last, other=0.0),)
        totals = more
        k += form.block
    found = ()
    for j in tl.static_range(len(totals)):
        found += (tl.reduce(totals[j], 0, added),)
    return found


@jit
def fused_sizes(sums, firsts, sizes, form: tl.constexpr):
    """Write the sums over one tensor's chunks, and the number of its elements."""
    tensor = tl.program_id(0)
    found = summed(sums, firsts, tensor, form)
    for j in tl.static_range(len(found)):
        tl.store(sizes + (form.sums + 1) * tensor + j, found[j])


@jit
def rooted(sums):
    """Return the root of each sum."""
    roots = ()
    for j in tl.static_range(len(sums)):
        roots += (tl.sqrt(sums[j]),)
    return roots


@jit
def doubled(numbers):
    """Return numbers in double precision."""
    made = ()
    for j in tl.static_range(len(numbers)):
        made += (numbers[j].to(tl.float64),)
    return made


@jit
def fused_factors(sums, firsts, rows, factors, number: tl.constexpr, form: tl.constexpr):
    """Turn the sums over one tensor's chunks into the number that shapes it."""
    tensor = tl.program_id(0)
    found = summed(sums, firsts, tensor, form)
    roots = rooted(found[: form.sums])
    end = doubled(line(rows, tensor, form.width)[form.begin : form.end])
    spot = factors + tensor * form.shapings + form.measured
    tl.store(spot, number(roots, found[form.sums], end))
