r"""Schedule-Free as an application (arXiv:2405.15682): an average takes the schedule's place.

A base point :math:`z` takes the steps, :math:`x` is the average of all base points, and gradients
are taken at :math:`y`, between both:

.. math::
    z' &= z - \eta (u + \lambda y) \\
    x' &= (1 - c) x + c z' \\
    y' &= \beta x' + (1 - \beta) z'

The parameter is :math:`y`. :math:`x` is not kept: it follows from the other two, so that

.. math::
    y' = y + c (z - y) - (1 - \beta (1 - c)) \eta (u + \lambda y)
"""

from __future__ import annotations

from autotune.kernels.lang import jit
from autotune.kernels.rule import Part


@jit
def schedule_free(p, u, state, scalars):
    """Move ``z``, then the parameter, which is ``y``; ``ahead`` is ``1 - beta (1 - c)``."""
    lr, weight_decay, c, ahead = scalars
    moved = lr * (u + weight_decay * p)
    z = state[0]
    return p + c * (z - p) - ahead * moved, (z - moved,)


SCHEDULE_FREE = Part(
    fn=schedule_free, buffers=("z",), scalars=("lr", "weight_decay", "weight", "ahead")
)
