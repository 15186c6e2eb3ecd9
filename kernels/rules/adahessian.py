r"""The AdaHessian direction (arXiv:2006.00719): Adam's, by the Hessian's diagonal.

With an estimate :math:`D` of that diagonal, which a second backward pass has made:

.. math::
    m \leftarrow b_1 m + (1 - b_1) g \qquad
    h \leftarrow b_2 h + (1 - b_2) D^2 \qquad
    u = \frac{m / (1 - b_1^t)}{\left(\sqrt{h / (1 - b_2^t)}\right)^k + \epsilon}
"""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Part
from autotune.kernels.rules.ema import ema


@jit
def adahessian(p, g, state, scalars):
    """Divide the mean gradient by the root of the mean squared curvature: the power is 1."""
    m, h, d = state
    b1, take1, b2, take2, c1, c2, _, eps = scalars
    m = ema(m, g, b1, take1)
    h = ema(h, d * d, b2, take2)
    return m / c1 / (tl.sqrt(h) / c2 + eps), (m, h, d)


@jit
def raised(p, g, state, scalars):
    """Divide by a power of it; 0 stays 0, as a logarithm would not."""
    m, h, d = state
    b1, take1, b2, take2, c1, c2, power, eps = scalars
    m = ema(m, g, b1, take1)
    h = ema(h, d * d, b2, take2)
    root = tl.sqrt(h) / c2
    known = root > 0.0
    curvature = tl.where(known, tl.exp(power * tl.log(tl.where(known, root, 1.0))), 0.0)
    return m / c1 / (curvature + eps), (m, h, d)


SCALARS = ("b1", "take1", "b2", "take2", "c1", "c2", "power", "eps")
GIVEN = ("hessian",)
BUFFERS = ("exp_avg", "exp_hessian_diag_sq", *GIVEN)
ADAHESSIAN = Part(fn=adahessian, buffers=BUFFERS, scalars=SCALARS, given=GIVEN)
RAISED = Part(fn=raised, buffers=BUFFERS, scalars=SCALARS, given=GIVEN)
