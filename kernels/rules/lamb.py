"""The LAMB direction: Adam's, plus weight decay. ``norms.ratio`` scales it per tensor."""

from __future__ import annotations

from autotune.kernels.lang import jit
from autotune.kernels.rule import Part
from autotune.kernels.rules.adam import ADAM, adam


@jit
def lamb(p, g, state, scalars):
    """Add ``weight_decay * p`` to Adam's update."""
    weight_decay, l2, b1, take1, b2, take2, c1, c2, eps = scalars
    u, state = adam(p, g, state, (l2, b1, take1, b2, take2, c1, c2, eps))
    return u + weight_decay * p, state


LAMB = Part(fn=lamb, buffers=ADAM.buffers, scalars=("weight_decay", *ADAM.scalars))
