"""The running average every direction is built from."""

from __future__ import annotations

from autotune.kernels.lang import jit


@jit
def ema(average, value, keep, take):
    """Keep a share of the average and take a share of the value.

    Both shares are given: ``1 - keep`` in single precision would lose digits of a small one.
    """
    return keep * average + take * value
