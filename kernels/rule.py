"""The parts of an optimizer step: direction, shaping, application, and the tensors to update."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
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

    A direction is ``fn(p, g, state, scalars) -> u, state``;
    an application is ``fn(p, u, state, scalars) -> p, state``.

    Attributes:
        given: Those buffers that the optimizer fills before each step, and drops after it.
    """

    fn: Function
    buffers: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()
    given: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Shaping:
    """What an update, or a gradient, becomes by a number of its whole tensor.

    A tensor is read twice: first for the roots of sums of squares over its elements, which are
    summed in double precision, then for the step. All three functions read the same scalars.

    Attributes:
        measure: ``fn(p, g, u, state, scalars) -> values``: what is squared and summed, each for
            itself. ``state`` are the direction's new buffers.
        factor: ``fn(roots, size, scalars) -> factor``, in double precision: the tensor's number,
            from the root of each sum and the number of its elements.
        shape: ``fn(p, g, u, factor, scalars) -> u``.
        sums: How many values are measured.
        scalars: Names of the scalars, which stand at the end of a row.
        early: Whether the gradient is shaped, before the direction: u is then g, and ``state`` are
            the direction's old buffers.
    """

    measure: Function
    factor: Function
    shape: Function
    sums: int
    scalars: tuple[str, ...] = ()
    early: bool = False


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A direction, an application, what shapes an update between them, and how all is kept.

    Attributes:
        shaping: What makes an update depend on its whole tensor, as LAMB's trust ratio does.
        dithered: Roles that are rounded at random if they are kept in bfloat16: 0 is the parameter,
            1 the gradient, from 2 on are the buffers.
        relative: Whether the application's buffers are kept as differences from the parameter.
    """

    direction: Part
    application: Part
    shaping: Shaping | None = None
    dithered: tuple[int, ...] = ()
    relative: bool = False

    @property
    def shaped(self) -> Shaping:
        """The shaping of a rule that has one."""
        if self.shaping is None:
            raise ValueError(f"a rule without shaping measures nothing, got {self}")
        return self.shaping

    @cached_property
    def buffers(self) -> tuple[str, ...]:
        """Names of the buffers, the direction's first."""
        return self.direction.buffers + self.application.buffers

    @cached_property
    def scalars(self) -> tuple[str, ...]:
        """Names of the scalars in a row: the direction's, the application's, the shaping's."""
        shaping = () if self.shaping is None else self.shaping.scalars
        return self.direction.scalars + self.application.scalars + shaping


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


def keys_of(key: Key, count: int) -> tuple[Any, ...]:
    """Return the key of each replica."""
    return tuple(key.tolist()) if isinstance(key, np.ndarray) else (key,) * count
