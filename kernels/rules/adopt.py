r"""The ADOPT direction (arXiv:2411.02853, Algorithm 2).

A gradient is divided by the root of the mean square of those before it, and then averaged:

.. math::
    m \leftarrow b_1 m + (1 - b_1)\, \text{clip}\!\left(\frac{g}{\max(\sqrt{v}, \epsilon)},
    c_t\right) \qquad u = m \qquad v \leftarrow b_2 v + (1 - b_2) g^2
"""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Part
from autotune.kernels.rules.ema import ema


@jit
def adopt(p, g, state, scalars):
    """Return the new average; ``still`` is minus the decay that a first step has to undo."""
    m, v = state
    l2, b1, take1, b2, take2, bound, eps, still = scalars
    g = g + l2 * p
    scaled = g / tl.maximum(tl.sqrt(v), eps)
    scaled = tl.where(scaled > bound, bound, tl.where(scaled < -bound, -bound, scaled))
    m = ema(m, scaled, b1, take1)
    return m + still * p, (m, ema(v, g * g, b2, take2))


ADOPT = Part(
    fn=adopt,
    buffers=("exp_avg", "exp_avg_sq"),
    scalars=("l2", "b1", "take1", "b2", "take2", "bound", "eps", "still"),
)
