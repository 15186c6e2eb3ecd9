r"""The direction of NAdam and NAdamW: Adam's with a look ahead along the gradient.

.. math::
    m \leftarrow b_1 m + (1 - b_1) g \qquad
    v \leftarrow b_2 v + (1 - b_2) g^2 \qquad
    u = \frac{\text{near} \cdot g + \text{far} \cdot m}{\sqrt{v} / \sqrt{1 - b_2^t} + \epsilon}

How much of the gradient and of its mean a step takes is where the variants differ.
"""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Part
from autotune.kernels.rules.ema import ema


@jit
def nadamw(p, g, state, scalars):
    """Divide a mix of gradient and mean by the root mean square."""
    m, v = state
    l2, b1, take1, b2, take2, near, far, c2, eps = scalars
    g = g + l2 * p
    m = ema(m, g, b1, take1)
    v = ema(v, g * g, b2, take2)
    return (near * g + far * m) / (tl.sqrt(v) / c2 + eps), (m, v)


NADAMW = Part(
    fn=nadamw,
    buffers=("exp_avg", "exp_avg_sq"),
    scalars=("l2", "b1", "take1", "b2", "take2", "near", "far", "c2", "eps"),
)
