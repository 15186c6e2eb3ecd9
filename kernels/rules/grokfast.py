r"""Grokfast (arXiv:2405.20233): gradients with their slow part amplified.

.. math::
    s \leftarrow \alpha s + (1 - \alpha) g \qquad g \leftarrow g + \lambda s

where the first :math:`s` is the first gradient.
"""

from __future__ import annotations

from autotune.kernels.lang import jit
from autotune.kernels.rule import Part
from autotune.kernels.rules.ema import ema


@jit
def amplified(p, g, state, scalars):
    """Return the gradient with ``lamb`` times its new average."""
    keep, take, lamb = scalars
    slow = ema(state[0], g, keep, take)
    return g + lamb * slow, (slow,)


GROKFAST = Part(fn=amplified, buffers=("slow_grad",), scalars=("keep", "take", "lamb"))
