"""What a step computes on the device before it: its number, rows of scalars, the clipping factor.

One launch does it for all parameter groups, where operators would take 11 to 25. Its numbers are
those of operators bit for bit: everything is in double precision, and products and sums stay apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from triton import language

from autotune.kernels.lang import foreign, jit, tl
from autotune.kernels.rule import Tape
from autotune.kernels.triton import step
from autotune.kernels.triton.memory import line
from autotune.kernels.triton.tables import place, table

_BLOCK = 32  # rows that a program writes at once
_FIELDS = 8  # of a clock
_CLIP = 2  # numbers before those of tapes: the largest norm, and eps
READABLE = {torch.float32: language.float32, torch.float64: language.float64}


@dataclass(frozen=True, kw_only=True)
class Form:
    """The constants compiled into a prelude."""

    tapes: tuple[Tape, ...]
    rates: tuple[language.dtype, ...]  # of each tape's learning rate
    compute: language.dtype  # of rows
    fields: int = _FIELDS
    ahead: int = _CLIP
    block: int = _BLOCK


class Programs:
    """The programs of a prelude: one for each count of steps, which makes the next rows."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[Tape, torch.dtype], int] = {}
        self._lines: list[tuple[int, ...]] = []
        self._constants: list[float] = []
        self._elements = self._rows = 0
        self._device = torch.device("cpu")

    def add(
        self,
        tape: Tape,
        constants: Sequence[float],
        rate: Tensor,
        counters: Sequence[Tensor],
        count: int,
        share: Tensor | None = None,
    ) -> None:
        """Add those of a parameter group.

        Args:
            tape: How a row is computed.
            constants: The tape's.
            rate: The learning rate.
            counters: One that makes all rows, or one for each.
            count: How many rows there are.
            share: The weight of a new point in an average, if the tape reads one.
        """
        kind = self._kinds.setdefault((tape, rate.dtype), len(self._kinds))
        each = 1 if len(counters) == count else count
        weight = 0 if share is None else share.data_ptr()
        shared = rate.data_ptr(), weight, kind, len(self._constants)
        for counter in counters:
            self._lines.append((counter.data_ptr(), *shared, self._elements, self._rows, each))
            self._elements += each * len(tape.columns)
            self._rows += each
        self._constants += constants
        self._device = rate.device

    def prelude(
        self,
        *,
        compute: torch.dtype,
        order: Sequence[int],
        limit: float,
        eps: float,
        overflow: Tensor | None,
    ) -> Prelude:
        """Return the launch of these programs, which writes rows in the precision ``compute``."""
        tapes, rates = zip(*self._kinds, strict=True)
        return Prelude(
            form=Form(
                tapes=tapes,
                rates=tuple([READABLE[dtype] for dtype in rates]),
                compute=READABLE[compute],
            ),
            lines=self._lines,
            numbers=(limit, eps, *self._constants),
            order=order,
            rows=torch.empty(self._elements, dtype=compute, device=self._device),
            keys=torch.empty(len(order), dtype=torch.int64, device=self._device),
            overflow=overflow,
        )


@dataclass(frozen=True, kw_only=True)
class Prelude:
    """A launch before a step.

    Attributes:
        form: Its constants.
        lines: What each program reads: the addresses of a step count, a learning rate and the
            weight of a new point in an average, which tape it plays, where its constants, its first
            element and its first row are, and for how many rows.
        numbers: The largest norm of gradients and its eps, then the tapes' constants.
        order: The number of each row's parameter; none if nothing is rounded at random.
        rows: Is written: rows of scalars, one after another.
        keys: Is written: keys of random numbers.
        overflow: Nothing is counted unless it is 0.
    """

    form: Form
    lines: Sequence[tuple[int, ...]]
    numbers: Sequence[float]
    order: Sequence[int]
    rows: Tensor
    keys: Tensor
    overflow: Tensor | None

    def tables(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return what the launch reads, on its device."""
        where = place(self.rows.device)
        order = np.array(self.order, dtype=np.int64).tobytes()
        return (
            table(np.array(self.lines, dtype=np.int64).tobytes(), torch.int64, where),
            table(np.array(self.numbers).tobytes(), torch.float64, where),
            table(order, torch.int64, where) if order else None,
        )

    def run(self, total: Tensor | None, scale: Tensor | None) -> Tensor | None:
        """Count, write all rows, and return the factor of gradients; None is 1.

        Args:
            total: The sum of squares of all gradients, if they are clipped.
            scale: What they are multiplied by, if they are.
        """
        home, factor = self.rows.device, None
        if total is not None or scale is not None:
            factor = torch.empty((), dtype=torch.float64, device=home)
        tables = (*self.tables(), self.rows, self.keys, factor, self.overflow, total, scale)
        step.launch(fused_prelude, len(self.lines), home, *tables, self.form, warps=1, fusing=False)
        return factor


def _interpreted_power(base: Any, exponent: Any) -> Any:
    """Return what ``power`` does on a device; Triton's interpreter has no functions of devices."""
    from triton.runtime.interpreter import TensorHandle

    both = [torch.from_numpy(np.atleast_1d(each.handle.data)) for each in (base, exponent)]
    raised = torch.pow(*both).numpy()  # torch's, as that of operators
    return language.tensor(TensorHandle(raised, language.float64), language.float64)


@foreign(_interpreted_power)
def power(base, exponent):
    """Raise to a power, as torch does on the device."""
    return tl.extra.libdevice.pow(base, exponent)


@jit
def taken(overflow):
    """Return 1, or 0 if there was an overflow."""
    if overflow is None:
        return 1
    else:
        return tl.where(tl.load(overflow) == 0.0, 1, 0)


@jit
def done(values, k: tl.constexpr, i: tl.constexpr, form):
    """Return the result of operation i of tape k."""
    a, b = values[form.tapes[k].work[i][1]], values[form.tapes[k].work[i][2]]
    if form.tapes[k].work[i][0] == "add":
        made = a + b
    elif form.tapes[k].work[i][0] == "sub":
        made = a - b
    elif form.tapes[k].work[i][0] == "mul":
        made = a * b
    elif form.tapes[k].work[i][0] == "div":
        made = a / b
    elif form.tapes[k].work[i][0] == "pow":
        made = power(a, b)
    elif form.tapes[k].work[i][0] == "sqrt":
        made = tl.sqrt(a)
    else:
        made = tl.where(a > b, 1.0, 0.0).to(tl.float64)
    return made


@jit
def played(values, k: tl.constexpr, form):
    """Do the operations of tape k; return the values before it and its results."""
    for i in tl.static_range(len(form.tapes[k].work)):
        values += (done(values, k, i, form),)
    return values


@jit
def weighed(share, lr, k: tl.constexpr, form):
    """Return the weight of a new point in an average; what tape k does not read may be anything."""
    if form.tapes[k].averaged:
        return tl.load(share.to(tl.pointer_type(tl.float64)))
    else:
        return lr


@jit
def clipped(numbers, total, scale):
    """Return the factor that clips gradients and undoes their scale, as ``norms.clip_factor``."""
    if total is None:
        found = tl.load(scale)
        return (1.0 / found.to(tl.float64)).to(found.dtype).to(tl.float64)
    else:
        norm = tl.sqrt(tl.load(total))
        if scale is not None:
            norm = norm / tl.load(scale).to(tl.float64)
        found = 1.0 / (norm + tl.load(numbers + 1)) * tl.load(numbers)
        found = tl.where(found > 1.0, 1.0, found)  # NaN stays
        if scale is not None:
            found = found / tl.load(scale).to(tl.float64)
        return found


@jit
def fused_prelude(
    clocks, numbers, order, rows, keys, clip, overflow, total, scale, form: tl.constexpr
):
    """Count one clock's step and write its rows; the first program also writes the factor."""
    here = clocks + form.fields * tl.program_id(0).to(tl.int64)
    counter, rate, share, tape, own, element, row, count = line(here, 0, form.fields)
    counter = counter.to(tl.pointer_type(tl.int64))
    step = tl.load(counter) + taken(overflow)
    tl.debug_barrier()  # all lanes have read it
    tl.store(counter, step)
    if clip is not None:  # noqa: SIM102  # which is known when it is compiled
        if tl.program_id(0) == 0:
            tl.store(clip, clipped(numbers, total, scale))
    for k in tl.static_range(len(form.tapes)):
        if tape == k:
            lr = tl.load(rate.to(tl.pointer_type(form.rates[k]))).to(tl.float64)
            constants = line(numbers + form.ahead + own, 0, form.tapes[k].constants)
            given = step.to(tl.float64), lr, weighed(share, lr, k, form)
            values = played(given + constants, k, form)
            written(rows + element, values, count, k, form)
    if order is not None:
        i = 0
        while i < count:
            lane = row + i + tl.arange(0, form.block)
            inside = lane < row + count
            number = tl.load(order + lane, mask=inside, other=0)
            tl.store(keys + lane, (step << 32) + number, mask=inside)
            i += form.block


@jit
def written(rows, values, count, k: tl.constexpr, form):
    """Write the row of tape k ``count`` times."""
    i = 0
    while i < count:
        lane = i + tl.arange(0, form.block)
        for j in tl.static_range(len(form.tapes[k].columns)):
            spot = rows + lane * len(form.tapes[k].columns) + j
            value = values[form.tapes[k].columns[j]].to(form.compute)
            tl.store(spot, value, mask=lane < count)
        i += form.block
