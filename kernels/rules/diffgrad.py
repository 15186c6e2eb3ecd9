r"""The diffGrad direction (arXiv:1909.11015): Adam's, slowed where the gradient hardly changes.

.. math::
    \xi = \frac{1}{1 + e^{-|g_\text{prev} - g|}} \qquad
    u = \frac{\xi m}{1 - b_1^t} \cdot \frac{\sqrt{1 - b_2^t}}{\sqrt{v} + \epsilon}

with Adam's :math:`m` and :math:`v`; the first previous gradient is 0.
"""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Part
from autotune.kernels.rules.adam import ADAM, averaged, corrected


@jit
def diffgrad(p, g, state, scalars):
    """Return the update; ``seen`` is 0 where the change of the gradient counts as 0."""
    m, v, previous = state
    l2, b1, take1, b2, take2, c1, c2, eps, seen = scalars
    adams = (0.0, b1, take1, b2, take2, c1, c2, eps)
    g = g + l2 * p  # also what the next step calls the previous gradient
    m, v = averaged(p, g, m, v, adams)
    friction = 1.0 / (1.0 + tl.exp(-seen * tl.abs(previous - g)))
    return friction * corrected(m, v, adams), (m, v, g)


DIFFGRAD = Part(
    fn=diffgrad,
    buffers=(*ADAM.buffers, "previous_grad"),
    scalars=(*ADAM.scalars, "seen"),
)
