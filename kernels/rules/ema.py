"""The running average every direction is built from."""

from __future__ import annotations

from autotune.kernels.lang import jit


@jit
def ema(average, value, keep, take):
    """Return ``keep`` times the average plus ``take`` times the value.

    Both factors are given, as ``1 - keep`` in single precision would lose digits if it is small.
    """
    return keep * average + take * value
