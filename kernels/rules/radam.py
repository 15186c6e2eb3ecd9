r"""The direction of RAdam: the mean gradient, and later divided by its root mean square.

.. math::
    m \leftarrow b_1 m + (1 - b_1) g \qquad
    v \leftarrow b_2 v + (1 - b_2) g^2 \qquad
    u = \frac{\text{far} \cdot m}{\text{by} \sqrt{v} + \text{floor}}

While too few squares were averaged, by is 0 and floor 1; that is the same for all elements.
"""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Part
from autotune.kernels.rules.ema import ema


@jit
def radam(p, g, state, scalars):
    """Divide the mean gradient by its root mean square, or by 1."""
    m, v = state
    l2, b1, take1, b2, take2, far, by, floor = scalars
    g = g + l2 * p
    m = ema(m, g, b1, take1)
    v = ema(v, g * g, b2, take2)
    return far * m / (by * tl.sqrt(v) + floor), (m, v)


RADAM = Part(
    fn=radam,
    buffers=("exp_avg", "exp_avg_sq"),
    scalars=("l2", "b1", "take1", "b2", "take2", "far", "by", "floor"),
)
