"""The constants that are compiled into a kernel besides its rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from triton import language

from autotune.kernels.rule import Rule

DTYPES = {
    torch.float16: language.float16,
    torch.bfloat16: language.bfloat16,
    torch.float32: language.float32,
    torch.float64: language.float64,
}


@dataclass(frozen=True, kw_only=True)
class Form:
    """The constants compiled into a kernel besides its rule."""

    chunk: int
    block: int
    dtypes: tuple[language.dtype, ...]  # of parameter, gradient and buffers
    compute: language.dtype = language.float64
    middle: int = 0  # where the filter's buffers begin, among the dtypes
    own: int = 0  # and those of the application
    first: int = 0  # where the application's scalars begin
    last: int = 0  # where those of the filter begin
    filtered: int = 0  # and end
    filtering: bool = False  # whether there is one
    width: int = 0  # of a row of scalars
    early: int = 0  # where the scalars of a shaping of the gradient end; 0 without one
    late: int = 0  # where those of a shaping of the update begin; 0 without one
    shapings: int = 0  # how many there are
    dithered: tuple[bool, ...] = ()  # which roles are rounded at random
    relative: bool = False  # whether the application's buffers are differences
    measured: int = 0  # which of them is measured
    of_gradient: bool = False  # whether it shapes the gradient
    ranked: bool = False  # whether its number is an order statistic
    bits: int = 8  # of numbers, in a pass that counts them
    bins: int = 256  # how many counts these make
    sums: int = 0  # how many values it measures
    begin: int = 0  # where its scalars begin
    end: int = 0  # and end
    apart: int = 0  # 1 if each tensor has a clipping factor of its own


@cache
def known_form(
    rule: Rule, chunk: int, block: int, dtypes: Sequence[torch.dtype], compute: torch.dtype
) -> Form:
    """Return the constants of a rule's kernels for tensors of some dtypes."""
    spans, middle = rule.spans, 2 + len(rule.direction.buffers)
    places = dict(zip([shaping.early for shaping in rule.shapings], spans.shapings, strict=True))
    return Form(
        chunk=chunk,
        block=block,
        dtypes=tuple([DTYPES[dtype] for dtype in dtypes]),
        compute=DTYPES[compute],
        middle=middle,
        own=2 + len(rule.averages),
        first=spans.application.start,
        last=spans.filter.start,
        filtered=spans.filter.stop,
        filtering=rule.filter is not None,
        width=len(rule.scalars),
        early=places[True].stop if True in places else 0,
        late=places[False].start if False in places else 0,
        shapings=len(rule.shapings),
        dithered=tuple([role in rule.dithered for role in range(len(dtypes))]),
        relative=rule.relative,
    )


@cache
def measuring(rule: Rule, form: Form, k: int) -> Form:
    """Return the constants for measuring one of a rule's shapings."""
    shaping, place = rule.shapings[k], rule.spans.shapings[k]
    return replace(
        form,
        early=form.early if k else 0,
        measured=k,
        ranked=shaping.ranked,
        sums=shaping.sums,
        of_gradient=shaping.early,
        begin=place.start,
        end=place.stop,
    )
