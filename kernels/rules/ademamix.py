r"""The direction of AdEMAMix (arXiv:2409.03137): Adam's with a second, slower mean of gradients.

.. math::
    m \leftarrow b_1 m + (1 - b_1) g \qquad
    s \leftarrow b_3 s + (1 - b_3) g \qquad
    v \leftarrow b_2 v + (1 - b_2) g^2

    u = \frac{m / (1 - b_1^t) + \alpha s}{\sqrt{v} / \sqrt{1 - b_2^t} + \epsilon}

The slow mean :math:`s` is not corrected for its beginning at zero.
"""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Part
from autotune.kernels.rules.ema import ema


@jit
def ademamix(p, g, state, scalars):
    """Divide the sum of a fast and a slow mean by the root mean square."""
    m, s, v = state
    b1, take1, b2, take2, b3, take3, alpha, c1, c2, eps = scalars
    m = ema(m, g, b1, take1)
    s = ema(s, g, b3, take3)
    v = ema(v, g * g, b2, take2)
    return (m / c1 + alpha * s) / (tl.sqrt(v) / c2 + eps), (m, s, v)


ADEMAMIX = Part(
    fn=ademamix,
    buffers=("exp_avg_fast", "exp_avg_slow", "exp_avg_sq"),
    scalars=("b1", "take1", "b2", "take2", "b3", "take3", "alpha", "c1", "c2", "eps"),
)
