r"""Coordinate-wise clipping (arXiv:2306.00204): elements that are large for their tensor, cut down.

.. math::
    \operatorname{clip}(x)_i = \operatorname{sign}(x_i) \min(|x_i|, \tau)

where, with the share :math:`f` of a tensor's :math:`n` elements that may be clipped, :math:`\tau`
is the :math:`(\lfloor f n \rfloor + 1)`-th largest :math:`|x_i|`: a quantile at :math:`1 - f`. NaN
counts as larger than any number, and stays.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Shaping


@jit
def shaped(p, g, u, state, scalars):
    """Measure what is clipped: a gradient, or an update."""
    return (u,)


@jit
def above(roots, size, scalars):
    """Return how many elements may be clipped, before it is rounded down."""
    first, second, third = scalars
    return (first + second + third) * size


@jit
def clipped(p, g, u, factor, scalars):
    """Cut down to the threshold."""
    return tl.where(u > factor, factor, tl.where(u < -factor, -factor, u))


UPDATE = Shaping(
    measure=shaped,
    factor=above,
    shape=clipped,
    sums=1,
    scalars=("share", "share_second", "share_third"),
    ranked=True,
)
GRADIENT = replace(UPDATE, early=True)


def share(fraction: float) -> tuple[float, float, float]:
    """Return three numbers of single precision whose sum in double precision is the fraction.

    Rows of scalars are in single precision on some backends, and a share that is rounded would
    count other elements there.
    """
    first = float(np.float32(fraction))
    second = float(np.float32(fraction - first))
    return first, second, fraction - first - second
