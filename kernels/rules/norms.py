"""Norms that scale gradients and updates: clipping by the global norm, and LAMB's trust ratio.

Squares are summed in double precision: the square of 256 overflows half precision.
"""

from __future__ import annotations

from torch import Tensor

from autotune.kernels.lang import jit, tl
from autotune.kernels.rule import Shaping


@jit
def ratio(p_norm, u_norm, limit):
    """Return ``|p| / |u|``, at most ``limit``; 1 where either norm is 0."""
    known = tl.where(p_norm > 0.0, u_norm, 0.0) > 0.0
    trust = p_norm / tl.where(known, u_norm, 1.0)
    return tl.where(known, tl.where(trust > limit, limit, trust), 1.0)


@jit
def both(p, g, u, state, scalars):
    """Measure a parameter and its update."""
    return p, u


@jit
def gradient(p, g, u, state, scalars):
    """Measure a gradient."""
    return (g,)


@jit
def within(roots, size, scalars):
    """Return what scales a norm down to a limit.

    The limit is ``limit``, or, where ``by_size`` is 1, that times the root of the tensor's size.
    """
    limit, by_size = scalars
    own = limit * tl.sqrt(by_size * size + 1.0 - by_size)
    return own / tl.where(roots[0] > own, roots[0], own)


@jit
def trust(roots, size, scalars):
    """Return the trust ratio."""
    return ratio(roots[0], roots[1], scalars[0])


@jit
def scaled(p, g, u, factor, scalars):
    """Scale an update."""
    return u * factor


@jit
def clamped(roots, size, scalars):
    """Return the trust ratio of a parameter whose norm counts as ``largest`` at most."""
    largest, limit = scalars
    return ratio(tl.where(roots[0] > largest, largest, roots[0]), roots[1], limit)


WITHIN = Shaping(
    measure=gradient, factor=within, shape=scaled, sums=1, scalars=("limit", "by_size"), early=True
)
TRUST = Shaping(measure=both, factor=trust, shape=scaled, sums=2, scalars=("limit",))
CLAMPED = Shaping(measure=both, factor=clamped, shape=scaled, sums=2, scalars=("largest", "limit"))


def clip_factor(norm: Tensor, limit: float | Tensor, eps: float | Tensor) -> Tensor:
    """Return the factor that clips gradients of this norm; it stays on their device."""
    # As torch computes a number over a tensor, so that a limit given as a tensor rounds alike.
    return ((norm + eps).reciprocal() * limit).clamp(max=1.0)
