r"""EMA-Nesterov (arXiv:2605.25395): gradients are taken ahead, along an average of past moves.

With :math:`A` the step of another application, from the point where the gradient was taken:

.. math::
    x' = A(x + \beta m) \qquad m' = \gamma m + (1 - \gamma) (x' - x)

The parameter is that point, :math:`y = x + \beta m`. :math:`x` is not kept: it follows from the
other two.
"""

from __future__ import annotations

from collections.abc import Mapping

from autotune.kernels.lang import Function, jit
from autotune.kernels.rule import Part
from autotune.kernels.rules import cautious, decay
from autotune.kernels.rules.cautious import cautious_decoupled, cautious_proximal
from autotune.kernels.rules.decay import decoupled, descent, fixed, proximal
from autotune.kernels.rules.ema import ema


@jit
def ahead(p, x, m, beta, keep, take):
    """Return the next point ahead of ``x``, and the average of moves."""
    m = ema(m, x - p + beta * m, keep, take)
    return x + beta * m, (m,)


@jit
def ahead_of_descent(p, u, state, scalars):
    """Step against the update, then look ahead."""
    lr, beta, keep, take = scalars
    x, _none = descent(p, u, (), (lr,))
    return ahead(p, x, state[0], beta, keep, take)


@jit
def ahead_of_decoupled(p, u, state, scalars):
    """Shrink, step, then look ahead."""
    lr, weight_decay, beta, keep, take = scalars
    x, _none = decoupled(p, u, (), (lr, weight_decay))
    return ahead(p, x, state[0], beta, keep, take)


@jit
def ahead_of_fixed(p, u, state, scalars):
    """Shrink whatever the learning rate, step, then look ahead."""
    lr, weight_decay, beta, keep, take = scalars
    x, _none = fixed(p, u, (), (lr, weight_decay))
    return ahead(p, x, state[0], beta, keep, take)


@jit
def ahead_of_proximal(p, u, state, scalars):
    """Step, shrink by division, then look ahead."""
    lr, weight_decay, beta, keep, take = scalars
    x, _none = proximal(p, u, (), (lr, weight_decay))
    return ahead(p, x, state[0], beta, keep, take)


@jit
def ahead_of_cautious_decoupled(p, u, state, scalars):
    """Shrink what an update does not let grow, step, then look ahead."""
    lr, weight_decay, beta, keep, take = scalars
    x, _none = cautious_decoupled(p, u, (), (lr, weight_decay))
    return ahead(p, x, state[0], beta, keep, take)


@jit
def ahead_of_cautious_proximal(p, u, state, scalars):
    """Step, shrink what the update does not let grow, then look ahead."""
    lr, weight_decay, beta, keep, take = scalars
    x, _none = cautious_proximal(p, u, (), (lr, weight_decay))
    return ahead(p, x, state[0], beta, keep, take)


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
