r"""The AdaGrad direction (Duchi et al., JMLR 12, 2011, as ``torch.optim.Adagrad`` computes it).

.. math::
    S \leftarrow S + g^2 \qquad u = \frac{\text{share} \cdot g}{\sqrt{S} + \epsilon}

By rows, what is added to :math:`S` depends on more than the element: the optimizer gives it.
"""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Part
from autotune.kernels.rules.ema import ema


@jit
def adagrad(p, g, state, scalars):
    """Divide the gradient by the root of the sum of all squares; ``begin`` is the sum's start."""
    l2, begin, share, eps = scalars
    g = g + l2 * p
    total = state[0] + begin + g * g
    return share * g / (tl.sqrt(total) + eps), (total,)


@jit
def by_rows(p, g, state, scalars):
    """Divide the mean gradient by the root of the sums given; ``along`` is a decay along g."""
    total, m, squares = state
    begin, share, keep, take, along, eps = scalars
    total = total + begin + squares
    m = ema(m, g, keep, take)
    return share * (m / (tl.sqrt(total) + eps) + along * g), (total, m, squares)


ADAGRAD = Part(fn=adagrad, buffers=("sum",), scalars=("l2", "begin", "share", "eps"))
BY_ROWS = Part(
    fn=by_rows,
    buffers=("sum", "momentum", "squares"),
    scalars=("begin", "share", "keep", "take", "along", "eps"),
    given=("squares",),
)
