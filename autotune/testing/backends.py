"""Backends as every machine can test them: without a device, Triton interprets its kernels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest

BACKENDS = ("torch", "numba", "triton")  # what the others are compared with comes first


@contextmanager
def usable(backend: str) -> Iterator[None]:
    """Let a backend run on the CPU meanwhile; skip the test where it is not installed."""
    if backend != "torch":
        pytest.importorskip(backend)
    with pytest.MonkeyPatch.context() as patch:
        if backend == "triton":
            patch.setenv("TRITON_INTERPRET", "1")
            _hasten(patch)
        with np.errstate(all="ignore"):  # a device divides by zero in silence
            yield


def _hasten(patch: pytest.MonkeyPatch) -> None:
    """Let Triton's interpreter find out once for each type what it would for each number.

    A third of its time goes into these three, which depend on a type's name or shape alone.
    """
    from triton.language import core
    from triton.runtime import interpreter

    patch.setattr(interpreter, "_get_np_dtype", _by_name(interpreter._get_np_dtype))
    patch.setattr(core.tensor, "__init__", _tensor)
    patch.setattr(core.block_type, "__init__", _block_type(core.block_type.__init__))


def _by_name(found: Any) -> Any:
    known: dict[str, Any] = {}

    def numpys(kind: Any) -> Any:
        if kind.name not in known:
            known[kind.name] = found(kind)
        return known[kind.name]

    return numpys


@cache
def _extent(shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Return a tensor's shape and its count of numbers, as Triton's language has them."""
    from triton.language import core

    return core.tuple([core.constexpr(n) for n in shape]), core.constexpr(math.prod(shape))


def _tensor(self: Any, handle: Any, type: Any) -> None:
    self.handle, self.type, self.dtype = handle, type, type.scalar
    self.shape, self.numel = _extent(type.shape if type.is_block() else ())


def _block_type(made: Any) -> Any:
    known: dict[Any, Any] = {}

    def begin(self: Any, element_ty: Any, shape: Any) -> None:
        key = element_ty.name, tuple([getattr(n, "value", n) for n in shape])
        if key not in known:
            made(self, element_ty, shape)
            known[key] = self.shape, self.numel, self.name
        self.element_ty = element_ty
        self.shape, self.numel, self.name = known[key]

    return begin
