r"""The AdaGrad direction (Duchi et al., JMLR 12, 2011, as ``torch.optim.Adagrad`` computes it).

.. math::
    S \leftarrow S + g^2 \qquad u = \frac{\text{share} \cdot g}{\sqrt{S} + \epsilon}
"""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Part


@jit
def adagrad(p, g, state, scalars):
    """Divide the gradient by the root of the sum of all squares; ``begin`` is the sum's start."""
    l2, begin, share, eps = scalars
    g = g + l2 * p
    total = state[0] + begin + g * g
    return share * g / (tl.sqrt(total) + eps), (total,)


ADAGRAD = Part(fn=adagrad, buffers=("sum",), scalars=("l2", "begin", "share", "eps"))
