"""The parts of an optimizer step: direction, shaping, application, and the tensors to update."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from autotune.kernels.lang import Function
from autotune.kernels.layout import Ints

Rows = NDArray[np.float64]  # scalars, a row for each replica
Key = int | Ints | Tensor  # of one tensor, one for each replica, or on the device
Row = tuple[float, ...] | Rows | Tensor  # a rule's scalars, likewise


@dataclass(frozen=True, kw_only=True)
class Part:
    """A function of a rule, with the names of the buffers it keeps and the scalars it reads.

    A filter is ``fn(p, g, state, scalars) -> g, state``;
    a direction is ``fn(p, g, state, scalars) -> u, state``;
    an application is ``fn(p, u, state, scalars) -> p, state``.

    Attributes:
        given: Those buffers that the optimizer fills before each step, and drops after it.
        zeros: Those buffers of an application that begin at 0, not at the parameter.
    """

    fn: Function
    buffers: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    zeros: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Shaping:
    """What an update, or a gradient, becomes by a number of its whole tensor.

    A tensor is read twice: first for the roots of sums of squares over its elements, which are
    summed in double precision, then for the step. All three functions read the same scalars.
    If it is ``ranked``, the number is one of the absolute values of its elements instead.

    Attributes:
        measure: ``fn(p, g, u, state, scalars) -> values``: what is squared and summed, each for
            itself. ``state`` are the direction's new buffers.
        factor: ``fn(roots, size, scalars) -> factor``, in double precision: the tensor's number,
            from the root of each sum and the number of its elements.
        shape: ``fn(p, g, u, factor, scalars) -> u``.
        sums: How many values are measured.
        scalars: Names of the scalars.
        early: Whether the gradient is shaped, before the direction: u is then g, and ``state`` are
            the direction's old buffers.
        ranked: Whether the number is an order statistic. One value is measured, and
            ``fn((), size, scalars) -> count`` is ``factor``: so many elements, rounded down, come
            after the number if absolute values are sorted, NaN last. No process knows it of pieces.
    """

    measure: Function
    factor: Function
    shape: Function
    sums: int
    scalars: tuple[str, ...] = ()
    early: bool = False
    ranked: bool = False


class Spans(NamedTuple):
    """Where in a row the scalars of a rule's parts begin and end."""

    direction: slice
    application: slice
    filter: slice
    shapings: tuple[slice, ...]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A direction, an application, what changes gradients and updates before, and how all is kept.

    A gradient is filtered, then shaped, then turned into an update, which is shaped and applied.

    Attributes:
        shaping: What makes an update depend on its whole tensor, as LAMB's trust ratio does, or a
            gradient, as LARS' rate does.
        filter: What makes a gradient depend on those before it, as MARS does.
        gradient_shaping: A shaping of the gradient beside one of the update.
        dithered: Roles that are rounded at random if they are kept in bfloat16: 0 is the parameter,
            1 the gradient, from 2 on are the buffers.
        relative: Whether the application's buffers are kept as differences from the parameter.
    """

    direction: Part
    application: Part
    shaping: Shaping | None = None
    filter: Part | None = None
    gradient_shaping: Shaping | None = None
    dithered: tuple[int, ...] = ()
    relative: bool = False

    @cached_property
    def shapings(self) -> tuple[Shaping, ...]:
        """The shapings, in the order in which they are measured: each in a pass of its own."""
        found = tuple([s for s in (self.gradient_shaping, self.shaping) if s is not None])
        if [s.early for s in found] not in ([], [True], [False], [True, False]):
            raise ValueError(
                "a rule shapes its gradient once, and its update once, got two shapings of one; "
                "leave one of them out"
            )
        return found

    def shaped(self, k: int = 0) -> Shaping:
        """Return a shaping of a rule that has it."""
        if k >= len(self.shapings):
            raise ValueError(f"a rule without shaping measures nothing, got {self}")
        return self.shapings[k]

    def measured(self, known: Tensor | None) -> int:
        """Return how many shapings some sizes are of: see ``backends.Backend``."""
        widths = [*accumulate([shaping.sums + 1 for shaping in self.shapings], initial=0)]
        return 0 if known is None else widths.index(known.shape[1])

    @cached_property
    def averages(self) -> tuple[str, ...]:
        """Names of the direction's buffers and of the filter's, which follow them."""
        filtering = () if self.filter is None else self.filter.buffers
        return self.direction.buffers + filtering

    @cached_property
    def buffers(self) -> tuple[str, ...]:
        """Names of the buffers, the application's last."""
        if self.filter is None:
            return self.direction.buffers + self.application.buffers
        return self.averages + self.application.buffers

    @cached_property
    def scalars(self) -> tuple[str, ...]:
        """Names of the scalars in a row, in the order of ``spans``."""
        found = self.direction.scalars + self.application.scalars
        for part in (self.filter, self.gradient_shaping, self.shaping):
            found += () if part is None else part.scalars
        return found

    @cached_property
    def spans(self) -> Spans:
        """Where the scalars of each part are in a row."""
        of_filter = () if self.filter is None else self.filter.scalars
        rows = [self.direction.scalars, self.application.scalars, of_filter]
        rows += [shaping.scalars for shaping in self.shapings]
        ends = [*accumulate(map(len, rows), initial=0)]
        found = [*map(slice, ends, ends[1:])]
        return Spans(found[0], found[1], found[2], tuple(found[3:]))


class Tape(NamedTuple):
    """How a device computes a row of scalars: operations on its step and its learning rate.

    A value is known by its place: 0 is the step, 1 the learning rate, 2 the weight of a new point
    in an average, if there is one; then come the constants, then the results of the operations.
    """

    constants: int  # how many there are
    work: tuple[tuple[str, int, int], ...]  # operation, and the places of its operands
    columns: tuple[int, ...]  # places of the row's values
    averaged: bool = False  # whether there is an average


GIVEN = 3  # values before the constants


class Update(NamedTuple):
    """One tensor's step: ``p`` and ``state`` are written, ``g`` never is.

    If ``row`` is an array, every tensor is a contiguous stack of replicas, and each replica has one
    row of the matrix. If ``row`` and ``key`` are tensors, they are read on the device; only the
    triton backend does that: each update has its own, or all updates of a step share one table with
    a line for each of them, in their order. All updates of a step are of the same kind.
    """

    p: Tensor
    g: Tensor
    state: tuple[Tensor, ...]
    row: Row  # the rule's scalars, in its order
    key: Key = 0  # of random numbers: the step, times 2^32, plus the tensor's number


def replicas(update: Update) -> Iterator[Update]:
    """Yield an update for each replica of a stack, or the given one if it is no stack."""
    p, g, state, row, keys = update
    if isinstance(row, tuple):
        yield update
        return
    for k, (line, key) in enumerate(zip(row.tolist(), keys_of(keys, len(row)), strict=True)):
        yield Update(p[k], g[k], tuple([buffer[k] for buffer in state]), tuple(line), key)


def place_of(count: float, size: int) -> int:
    """Return where the number of a ranked shaping is in its tensor, sorted, from 0.

    Args:
        count: How many elements come after it, before that is rounded down.
        size: How many there are, at least 1.
    """
    return size - 1 - min(int(count), size - 1)


def keys_of(key: Key, count: int) -> tuple[Any, ...]:
    """Return the key of each replica."""
    return tuple(key.tolist()) if isinstance(key, np.ndarray) else (key,) * count
