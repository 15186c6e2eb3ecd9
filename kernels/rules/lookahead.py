r"""EMA-Nesterov (arXiv:2605.25395): gradients are taken ahead, along an average of past moves.

With :math:`A` the step of another application, from the point where the gradient was taken:

.. math::
    x' = A(x + \beta m) \qquad m' = \gamma m + (1 - \gamma) (x' - x)

The parameter is that point, :math:`y = x + \beta m`. :math:`x` is not kept: it follows from the
other two.
"""

from __future__ import annotations

from collections.abc import Mapping

from autotune.kernels.lang import Function, instead, jit
from autotune.kernels.rule import Part
from autotune.kernels.rules import cautious, decay
from autotune.kernels.rules.cautious import cautious_decoupled, cautious_proximal
from autotune.kernels.rules.decay import decoupled, descent, fixed, proximal
from autotune.kernels.rules.ema import ema


@jit
def ahead_of_descent(p, u, state, scalars):
    """Step from where the gradient was taken, then look ahead along the average of moves."""
    beta, keep, take = scalars[-3:]
    x, _none = descent(p, u, (), scalars[:-3])
    m = ema(state[0], x - p + beta * state[0], keep, take)
    return x + beta * m, (m,)


ahead_of_decoupled = instead(ahead_of_descent, "ahead_of_decoupled", descent=decoupled)
ahead_of_fixed = instead(ahead_of_descent, "ahead_of_fixed", descent=fixed)
ahead_of_proximal = instead(ahead_of_descent, "ahead_of_proximal", descent=proximal)
ahead_of_cautious_decoupled = instead(
    ahead_of_descent, "ahead_of_cautious_decoupled", descent=cautious_decoupled
)
ahead_of_cautious_proximal = instead(
    ahead_of_descent, "ahead_of_cautious_proximal", descent=cautious_proximal
)


MOVES = "lookahead"  # the buffer: the average of moves


def _over(fn: Function, application: Part) -> Part:
    scalars = (*application.scalars, "beta", "keep", "take")
    return Part(fn=fn, buffers=(MOVES,), scalars=scalars, zeros=(MOVES,))


OF: Mapping[Part, Part] = {
    decay.DESCENT: _over(ahead_of_descent, decay.DESCENT),
    decay.DECOUPLED: _over(ahead_of_decoupled, decay.DECOUPLED),
    decay.FIXED: _over(ahead_of_fixed, decay.FIXED),
    decay.PROXIMAL: _over(ahead_of_proximal, decay.PROXIMAL),
    cautious.OF[decay.DECOUPLED]: _over(ahead_of_cautious_decoupled, decay.DECOUPLED),
    cautious.OF[decay.PROXIMAL]: _over(ahead_of_cautious_proximal, decay.PROXIMAL),
}
