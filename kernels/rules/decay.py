"""Applications that move the parameter itself: plain, decoupled and proximal weight decay."""

from __future__ import annotations

from autotune.kernels.lang import jit
from autotune.kernels.rule import Part


@jit
def proximal_step(p, u, lr, weight_decay):
    """Minimise ``<u, p'> + |p' - p|^2 / (2 lr) + weight_decay |p'|^2 / 2`` over ``p'``."""
    return (p - lr * u) / (1.0 + lr * weight_decay)


@jit
def descent(p, u, state, scalars):
    """Step against the update."""
    return p - scalars[0] * u, state


@jit
def decoupled(p, u, state, scalars):
    """Shrink the parameter, then step."""
    lr, weight_decay = scalars
    return p * (1.0 - lr * weight_decay) - lr * u, state


@jit
def fixed(p, u, state, scalars):
    """Shrink the parameter by a share that does not follow the learning rate, then step."""
    lr, weight_decay = scalars
    return p * (1.0 - weight_decay) - lr * u, state


@jit
def proximal(p, u, state, scalars):
    """Step, then shrink by division: decay as an exact minimiser."""
    lr, weight_decay = scalars
    return proximal_step(p, u, lr, weight_decay), state


DESCENT = Part(fn=descent, scalars=("lr",))
DECOUPLED = Part(fn=decoupled, scalars=("lr", "weight_decay"))
FIXED = Part(fn=fixed, scalars=("lr", "weight_decay"))
PROXIMAL = Part(fn=proximal, scalars=("lr", "weight_decay"))
