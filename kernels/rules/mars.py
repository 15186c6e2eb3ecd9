r"""MARS (arXiv:2411.10438, algorithm 2): gradients whose variance is reduced by the one before.

With the momentum's decay :math:`b_1`, and gradients of the batches that the steps took:

.. math::
    c = g + \gamma \frac{b_1}{1 - b_1} (g - g_\text{prev}) \qquad
    g \leftarrow c / \max(1, |c|)

The norm is that of one tensor; the gradient before the first is 0, as in the authors' code.
"""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Part, Shaping
from autotune.kernels.rules.norms import gradient, scaled


@jit
def corrected(p, g, state, scalars):
    """Return the gradient with a share of its change, and keep it as it was."""
    return g + scalars[0] * (g - state[0]), (g,)


@jit
def into_ball(roots, size, scalars):
    """Return one over a norm, where that is above 1."""
    return 1.0 / tl.where(roots[0] > 1.0, roots[0], 1.0)


MARS = Part(fn=corrected, buffers=("last_grad",), scalars=("gain",))
CLIPPED = Shaping(measure=gradient, factor=into_ball, shape=scaled, sums=1, early=True)
