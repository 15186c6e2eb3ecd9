r"""The Adan direction (arXiv:2208.06677, as its authors' code corrects for bias).

With decays :math:`b_1, b_2, b_3` close to one (the paper's are one minus these),
gradient :math:`g` and difference :math:`d = g - g_\text{prev}`, zero on the first step:

.. math::
    m \leftarrow b_1 m + (1 - b_1) g \qquad
    v \leftarrow b_2 v + (1 - b_2) d \qquad
    n \leftarrow b_3 n + (1 - b_3) (g + b_2 d)^2

    u = \frac{m / (1 - b_1^t) + b_2 v / (1 - b_2^t)}{\sqrt{n} / \sqrt{1 - b_3^t} + \epsilon}
"""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Part
from autotune.kernels.rules.ema import ema


@jit
def adan(p, g, state, scalars):
    """Return the update and the new state, whose ``q`` is minus the gradient.

    ``seen`` is 0 where there is no previous gradient; ``c1, c2, c3`` are the bias corrections.
    """
    m, v, n, q = state
    seen, b1, take1, b2, take2, b3, take3, c1, c2, c3, eps = scalars
    d = seen * (g + q)
    m = ema(m, g, b1, take1)
    v = ema(v, d, b2, take2)
    ahead = g + b2 * d
    n = ema(n, ahead * ahead, b3, take3)
    u = (m / c1 + b2 * v / c2) / (tl.sqrt(n) / c3 + eps)
    return u, (m, v, n, -g)


@jit
def unaveraged(p, g, state, scalars):
    """Return the update with the gradient itself for its average: Adan whose first decay is 0."""
    v, n, q = state
    seen, b2, take2, b3, take3, c2, c3, eps = scalars
    d = seen * (g + q)
    v = ema(v, d, b2, take2)
    ahead = g + b2 * d
    n = ema(n, ahead * ahead, b3, take3)
    return (g + b2 * v / c2) / (tl.sqrt(n) / c3 + eps), (v, n, -g)


ADAN = Part(
    fn=adan,
    buffers=("exp_avg", "exp_avg_diff", "exp_avg_sq", "neg_pre_grad"),
    scalars=("seen", "b1", "take1", "b2", "take2", "b3", "take3", "c1", "c2", "c3", "eps"),
)
UNAVERAGED = Part(
    fn=unaveraged,
    buffers=("exp_avg_diff", "exp_avg_sq", "neg_pre_grad"),
    scalars=("seen", "b2", "take2", "b3", "take3", "c2", "c3", "eps"),
)
