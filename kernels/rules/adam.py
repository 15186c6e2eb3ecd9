r"""The Adam direction, with or without a running maximum (AMSGrad).

With decays :math:`b_1, b_2` close to one:

.. math::
    m \leftarrow b_1 m + (1 - b_1) g \qquad
    v \leftarrow b_2 v + (1 - b_2) g^2 \qquad
    u = \frac{m / (1 - b_1^t)}{\sqrt{v} / \sqrt{1 - b_2^t} + \epsilon}
"""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Part
from autotune.kernels.rules.ema import ema


@jit
def averaged(p, g, m, v, scalars):
    """Return both averages, after adding ``l2 * p`` to the gradient."""
    l2, b1, take1, b2, take2, _, _, _ = scalars
    g = g + l2 * p
    return ema(m, g, b1, take1), ema(v, g * g, b2, take2)


@jit
def corrected(m, v, scalars):
    """Return the update; ``c1, c2`` are the bias corrections of ``m`` and of the root of ``v``."""
    _, _, _, _, _, c1, c2, eps = scalars
    return m / c1 / (tl.sqrt(v) / c2 + eps)


@jit
def adam(p, g, state, scalars):
    """Divide the mean gradient by its root mean square."""
    m, v = state
    m, v = averaged(p, g, m, v, scalars)
    return corrected(m, v, scalars), (m, v)


@jit
def unaveraged(p, g, state, scalars):
    """Divide the gradient itself by its root mean square: Adam whose first decay is 0."""
    l2, b2, take2, c2, eps = scalars
    g = g + l2 * p
    v = ema(state[0], g * g, b2, take2)
    return g / (tl.sqrt(v) / c2 + eps), (v,)


@jit
def amsgrad(p, g, state, scalars):
    """Divide by the largest mean square so far, taken before its bias is corrected."""
    m, v, peak = state
    m, v = averaged(p, g, m, v, scalars)
    peak = tl.maximum(peak, v)
    return corrected(m, peak, scalars), (m, v, peak)


SCALARS = ("l2", "b1", "take1", "b2", "take2", "c1", "c2", "eps")
ADAM = Part(fn=adam, buffers=("exp_avg", "exp_avg_sq"), scalars=SCALARS)
AMSGRAD = Part(fn=amsgrad, buffers=(*ADAM.buffers, "max_exp_avg_sq"), scalars=SCALARS)
UNAVERAGED = Part(
    fn=unaveraged, buffers=("exp_avg_sq",), scalars=("l2", "b2", "take2", "c2", "eps")
)
