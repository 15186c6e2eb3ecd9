"""Backends as every machine can test them: without a device, Triton interprets its kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
        with np.errstate(all="ignore"):  # a device divides by zero in silence
            yield
