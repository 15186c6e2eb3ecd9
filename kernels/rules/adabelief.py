r"""The AdaBelief direction (arXiv:2010.07468, as its authors' code adds epsilon).

With decays :math:`b_1, b_2` close to one:

.. math::
    m \leftarrow b_1 m + (1 - b_1) g \qquad
    s \leftarrow b_2 s + (1 - b_2) (g - m)^2 + \epsilon \qquad
    u = \frac{\text{near} \cdot m}{\sqrt{s} / c_2 + \epsilon} + \text{plain} \cdot m

where near, :math:`c_2` and plain are numbers of the step: they say what is corrected, and whether
the first steps go along the mean gradient alone.
"""

from __future__ import annotations

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Part
from autotune.kernels.rules.ema import ema


@jit
def surprised(p, g, m, s, scalars):
    """Return both averages: of the gradient, and of how far it is from its average."""
    l2, b1, take1, b2, take2, _, _, _, eps = scalars
    g = g + l2 * p
    m = ema(m, g, b1, take1)
    gap = g - m
    return m, ema(s, gap * gap, b2, take2) + eps


@jit
def believed(m, s, scalars):
    """Return the update; where ``near`` is 0 the second average is not looked at."""
    _, _, _, _, _, near, plain, c2, eps = scalars
    divisor = tl.where(near > 0.0, tl.sqrt(s) / c2 + eps, 1.0)
    return m * (near / divisor + plain)


@jit
def adabelief(p, g, state, scalars):
    """Divide the mean gradient by the root of its mean squared surprise."""
    m, s = state
    m, s = surprised(p, g, m, s, scalars)
    return believed(m, s, scalars), (m, s)


@jit
def amsgrad(p, g, state, scalars):
    """Divide by the largest mean so far, taken before its bias is corrected."""
    m, s, peak = state
    m, s = surprised(p, g, m, s, scalars)
    peak = tl.maximum(peak, s)
    return believed(m, peak, scalars), (m, s, peak)


SCALARS = ("l2", "b1", "take1", "b2", "take2", "near", "plain", "c2", "eps")
ADABELIEF = Part(fn=adabelief, buffers=("exp_avg", "exp_avg_var"), scalars=SCALARS)
AMSGRAD = Part(fn=amsgrad, buffers=(*ADABELIEF.buffers, "max_exp_avg_var"), scalars=SCALARS)
