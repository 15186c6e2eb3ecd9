r"""Caution: updates masked where they go against the gradient, and decay masked where against u.

The mask of an update (arXiv:2411.16085), with the share :math:`c` of what goes against the
gradient, and a floor for the mean over one tensor:

.. math::
    s = 1 \text{ where } u g > 0, \text{ else } c \qquad
    u \leftarrow u s / \max(\operatorname{mean} s, \text{floor})

Cautious weight decay (arXiv:2510.12402) leaves out elements that an update lets grow:

.. math::
    p \leftarrow p - \eta (u + \lambda \, [u p \geq 0] \, p)
"""

from __future__ import annotations

from collections.abc import Mapping

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Part, Shaping
from autotune.kernels.rules.decay import DECOUPLED, PROXIMAL, proximal_step


@jit
def mask(p, g, u, state, scalars):
    """Measure what goes along the gradient."""
    return (tl.where(u * g > 0.0, 1.0, 0.0),)


@jit
def balance(roots, size, scalars):
    """Return one over the mean of the mask, which counts as ``floor`` at least."""
    share, floor = scalars
    along = roots[0] * roots[0] / size
    mean = along + share * (1.0 - along)
    return 1.0 / tl.where(mean < floor, floor, mean)


@jit
def masked(p, g, u, factor, scalars):
    """Mask an update, and keep its mean size."""
    return tl.where(u * g > 0.0, u, u * scalars[0]) * factor


CAUTIOUS = Shaping(measure=mask, factor=balance, shape=masked, sums=1, scalars=("share", "floor"))


@jit
def cautious_decoupled(p, u, state, scalars):
    """Shrink what an update does not let grow, then step."""
    lr, weight_decay = scalars
    return tl.where(u * p >= 0.0, p * (1.0 - lr * weight_decay), p) - lr * u, state


@jit
def cautious_proximal(p, u, state, scalars):
    """Step, then shrink what the update does not let grow, by division."""
    lr, weight_decay = scalars
    return tl.where(u * p >= 0.0, proximal_step(p, u, lr, weight_decay), p - lr * u), state


OF: Mapping[Part, Part] = {
    DECOUPLED: Part(fn=cautious_decoupled, scalars=DECOUPLED.scalars),
    PROXIMAL: Part(fn=cautious_proximal, scalars=PROXIMAL.scalars),
}
