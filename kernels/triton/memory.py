"""How a kernel finds its chunk, and reads and writes elements in the dtypes they are kept in."""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.rules.dither import nearest, noise_near, stochastic


@jit
def widened(value, dtype):
    """Convert to a wider dtype; Triton's interpreter would lose bfloat16's subnormals."""
    if value.dtype == tl.bfloat16:
        bits = value.to(tl.uint16, bitcast=True).to(tl.uint32) << 16
        return bits.to(tl.float32, bitcast=True).to(dtype)
    else:
        return value.to(dtype)


@jit
def rounded(value, at, seed, role: tl.constexpr, form):
    """Convert to the dtype of a role; Triton's interpreter would truncate to bfloat16."""
    if form.dtypes[role] == tl.bfloat16:
        bits = value.to(tl.float32).to(tl.uint32, bitcast=True)
        if form.dithered[role]:
            upper = stochastic(bits, noise_near(at, seed[1], seed[0], role))
        else:
            upper = nearest(bits)
        return upper.to(tl.uint16).to(tl.bfloat16, bitcast=True)
    else:
        return value.to(form.dtypes[role])


@jit
def added(a, b):
    """Add, as a reduction does."""
    return a + b


@jit
def squared(value):
    """Square in double precision."""
    value = value.to(tl.float64)
    return value * value


@jit
def chunk_of(chunks):
    """Return the tensor of this program's chunk, where in it the chunk starts, and its length."""
    at = chunks + 3 * tl.program_id(0).to(tl.int64)
    return tl.load(at), tl.multiple_of(tl.load(at + 1), 16), tl.load(at + 2)


@jit
def line(table, tensor, width):
    """Return a tensor's row of a table."""
    numbers = ()
    for i in tl.static_range(width):
        numbers += (tl.load(table + tensor * width + i),)
    return numbers


@jit
def roles(table, grads, tensor, count):
    """Return the addresses of a parameter, its gradient and its buffers."""
    kept = line(table, tensor, count - 1)
    first = kept[0], tl.load(grads + tensor)
    return first + kept[1:]


@jit
def factor(pointer, i, dtype):
    """Return factor i, or 1 if there are no factors."""
    if pointer is None:
        return 1.0
    else:
        return tl.load(pointer + i).to(dtype)


@jit
def named(keys, tensor, start):
    """Return a chunk's seed: the key of its tensor's random numbers, and its elements' upper bits.

    A chunk is a power of 2, so all its elements are in one block of 2^32.
    """
    if keys is None:
        return 0, 0
    else:
        return tl.load(keys + tensor), start >> 32


@jit
def spots(address, at, mask, dtype):
    """Return pointers to elements; a chunk without a mask is aligned."""
    base = address.to(tl.pointer_type(dtype))
    if mask is None:
        base = tl.multiple_of(base, 16)
    return base + at


@jit
def loaded(address, at, mask, dtype, compute):
    """Return elements, with zeros outside of a mask."""
    if mask is None:
        value = tl.load(spots(address, at, mask, dtype))
    else:
        value = tl.load(spots(address, at, mask, dtype), mask=mask, other=0.0)
    return widened(value, compute)


@jit
def stored(places, at, mask, value, seed, role: tl.constexpr, form):
    """Write elements of one role, and return them as written."""
    value = rounded(value, at, seed, role, form)
    tl.store(spots(places[role], at, mask, form.dtypes[role]), value, mask=mask)
    return value


@jit
def every(places, at, mask, form):
    """Return the elements of a parameter, its gradient and its buffers."""
    values = ()
    for i in tl.static_range(len(form.dtypes)):
        values += (loaded(places[i], at, mask, form.dtypes[i], form.compute),)
    return values


@jit
def shifted(values, by):
    """Add one number to each value."""
    moved = ()
    for i in tl.static_range(len(values)):
        moved += (values[i] + by,)
    return moved
