r"""StableAdamW's clipping of updates (arXiv:2304.13013, section 3.5).

A tensor's step is shortened where gradients are larger than :math:`v` expects:

.. math::
    u \leftarrow u / \max(1, \mathrm{RMS}) \qquad
    \mathrm{RMS}^2 = \operatorname{mean} \frac{g^2}{\max(v / (1 - b_2^t), \epsilon^2)}
"""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Shaping
from autotune.kernels.rules.norms import scaled


@jit
def surprise(p, g, u, state, scalars):
    """Measure gradients over the root of their mean square, ``state``'s second buffer."""
    correction, eps = scalars
    return (g / tl.maximum(tl.sqrt(state[1]) / correction, eps),)


@jit
def calmed(roots, size, scalars):
    """Return one over the root of the mean square, where that is above 1."""
    mean = tl.sqrt(roots[0] * roots[0] / size)
    return 1.0 / tl.where(mean > 1.0, mean, 1.0)


STABLE = Shaping(
    measure=surprise, factor=calmed, shape=scaled, sums=1, scalars=("correction", "eps")
)
