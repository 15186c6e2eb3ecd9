"""Backends as every machine can test them: without a device, Triton interprets its kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

BACKENDS = ("torch", "numba", "triton")


@contextmanager
def usable(backend: str) -> Iterator[None]:
    """Let a backend run on the CPU meanwhile; skip the test where it is not installed."""
    if backend == "torch":
        yield
        return
    pytest.importorskip(backend)
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        # Devices divide by zero in silence too. Numba is compiled, and heeds neither.
        patch.setenv("TRITON_INTERPRET", "1")
        yield
