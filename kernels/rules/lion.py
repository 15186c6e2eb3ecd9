r"""The direction of Lion (arXiv:2302.06675): the sign of an interpolated momentum.

.. math::
    u = \operatorname{sign}(b_1 m + (1 - b_1) g) \qquad m \leftarrow b_2 m + (1 - b_2) g
"""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Part
from autotune.kernels.rules.ema import ema


@jit
def sign(value):
    """Return 1, -1, or the value itself: 0 and NaN stay."""
    return tl.where(value > 0.0, 1.0, tl.where(value < 0.0, -1.0, value))


@jit
def lion(p, g, state, scalars):
    """Return the sign of the old momentum moved towards the gradient, and the new momentum."""
    b1, take1, b2, take2 = scalars
    return sign(ema(state[0], g, b1, take1)), (ema(state[0], g, b2, take2),)


LION = Part(fn=lion, buffers=("exp_avg",), scalars=("b1", "take1", "b2", "take2"))
