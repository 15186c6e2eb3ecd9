r"""LARS' scale of gradients (arXiv:1708.03888), before momentum adds them up.

With the norms of a whole tensor, which both have to be above 0, and :math:`r = 1` otherwise:

.. math::
    r = \frac{c |p|}{|g| + \lambda |p| + \epsilon} \qquad g \leftarrow r (g + \lambda p)
"""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Shaping


@jit
def both(p, g, u, state, scalars):
    """Measure a parameter and its gradient."""
    return p, g


@jit
def rate(roots, size, scalars):
    """Return the ratio over ``unit``, which is lr or 1, and at most ``limit``."""
    coefficient, decay, eps, unit, limit = scalars
    p_norm, g_norm = roots
    known = tl.where(p_norm > 0.0, g_norm, 0.0) > 0.0
    below = tl.where(known, g_norm + decay * p_norm + eps, 1.0)
    ratio = tl.where(known, coefficient * p_norm / below, 1.0) / unit
    return tl.where(ratio > limit, limit, ratio)


@jit
def decayed(p, g, u, factor, scalars):
    """Add weight decay to a gradient, and scale both."""
    return (g + scalars[1] * p) * factor


LARS = Shaping(
    measure=both,
    factor=rate,
    shape=decayed,
    sums=2,
    scalars=("trust_coeff", "decay", "eps", "unit", "limit"),
    early=True,
)
