r"""The direction of stochastic gradient descent with momentum, Nesterov's or plain.

.. math::
    B \leftarrow \mu B + (1 - \text{dampening}) g \qquad u = g + \mu B \;\text{ or }\; u = B

where the first :math:`B` is the first gradient.
"""

from __future__ import annotations

from autotune.kernels.lang import jit
from autotune.kernels.rule import Part
from autotune.kernels.rules.ema import ema


@jit
def sgd(p, g, state, scalars):
    """Return ``near * g + far * B``: (1, momentum) is Nesterov's, (0, 1) plain."""
    l2, keep, take, near, far = scalars
    g = g + l2 * p
    b = ema(state[0], g, keep, take)
    return near * g + far * b, (b,)


@jit
def unaveraged(p, g, state, scalars):
    """Return the gradient itself: momentum of 0."""
    return g + scalars[0] * p, state


SGD = Part(fn=sgd, buffers=("momentum",), scalars=("l2", "keep", "take", "near", "far"))
UNAVERAGED = Part(fn=unaveraged, scalars=("l2",))
