r"""Applications of weight-decay-integrated Nesterov acceleration: Win and Win2.

A conservative point :math:`x` takes the proximal step; reckless points take steps
:math:`\gamma_1` and :math:`\gamma_2` times as long, and are pulled to the points before them:

.. math::
    x' &= (x - \eta u) / (1 + \eta\lambda) \\
    y' &= (y + \gamma_1 x' - \gamma_1 \eta u) / (1 + \gamma_1 + \gamma_1 \eta\lambda) \\
    z' &= (z + \gamma_2 x' + \tfrac{\gamma_2}{\gamma_1} y' - \gamma_2 \eta u)
          / (1 + \gamma_2 + \tfrac{\gamma_2}{\gamma_1} + \gamma_2 \eta\lambda)

The parameter is the last point. With :math:`\eta = 0` it still moves towards :math:`x`: also after
something else has moved the parameter, until the points begin again there.
"""

from __future__ import annotations

from autotune.kernels.lang import jit
from autotune.kernels.rule import Part
from autotune.kernels.rules.decay import proximal_step


@jit
def win(p, u, state, scalars):
    """Move ``x``, then the parameter, which is ``y``."""
    lr, weight_decay, gamma = scalars
    x = proximal_step(state[0], u, lr, weight_decay)
    pulled = p + gamma * x - gamma * lr * u
    return pulled / (1.0 + gamma + gamma * lr * weight_decay), (x,)


@jit
def win2(p, u, state, scalars):
    """Move ``x`` and ``y`` as Win does, then the parameter, which is ``z``."""
    lr, weight_decay, gamma1, gamma2 = scalars
    y, moved = win(state[1], u, (state[0],), (lr, weight_decay, gamma1))
    x, pull = moved[0], gamma2 / gamma1
    pulled = p + gamma2 * x + pull * y - gamma2 * lr * u
    return pulled / (1.0 + gamma2 + pull + gamma2 * lr * weight_decay), (x, y)


WIN = Part(fn=win, buffers=("x",), scalars=("lr", "weight_decay", "gamma1"))
WIN2 = Part(fn=win2, buffers=("x", "y"), scalars=(*WIN.scalars, "gamma2"))
