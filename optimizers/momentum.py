"""NAdam's momentum, which grows from step to step, and the product of all so far.

The product of b (1 - q^k / 2) over k = 1 ... t is a function of t, in a fixed number of operations.
So nothing has to be kept beside the step, and what computes scalars on the device, or for many
replicas, takes it like any other. Its logarithm is t log b plus the sum of log(1 - q^k / 2), and as
log(1 - w) is a polynomial of w to double precision where w is at most 1/2, that is a sum of
geometric series.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from autotune.optimizers.scalars import Scalar, below

_BASE = 0.96  # Dozat's
_DEGREE = 20  # of the polynomial: further terms are below double precision
_HALVINGS = 6
_ZERO = 40.0  # exp(-40) is nothing beside 1


def momentum(beta: float, decay: float, step: Scalar) -> Scalar:
    """Return the momentum of a step: from half of ``beta`` it grows to ``beta``."""
    return beta * (1.0 - 0.5 * _BASE ** (decay * step))


def product(beta: float, decay: float, step: Scalar) -> Scalar:
    """Return the product of the momenta of steps 1 to ``step``."""
    rate = -math.log(_BASE) * decay
    constants = _constants(rate)
    # Later steps add less than double precision knows.
    counted = below(step, _ZERO / rate) if rate else step
    mean, left = _mean_and_last(counted * rate)
    total = constants[-1]
    for constant in reversed(constants[:-1]):
        total = total * left + constant
    return beta**step * math.e ** (counted * mean * total)


@lru_cache
def _constants(rate: float) -> tuple[float, ...]:
    """Return the factors of the powers of q^t in the sum of log(1 - q^k / 2), over its first term.

    The series of (q^k / 2)^n over k is (q / 2)^n (1 - q^(n t)) / (1 - q^n). Of that, what depends
    on t is (1 - q^t) / (1 - q), which all share, times 1 + q^t + ... + q^((n - 1) t).
    """
    nodes = np.cos((np.arange(_DEGREE) + 0.5) * np.pi / _DEGREE) / 4.0 + 0.25  # Chebyshev's, in w
    over = np.polynomial.Chebyshev.fit(nodes, np.log1p(-nodes) / nodes, _DEGREE - 1, [0.0, 0.5])
    factors = over.convert(kind=np.polynomial.Polynomial).coef
    q = math.exp(-rate)
    single = -math.expm1(-rate) / rate if rate else 1.0
    found, lengths = [0.0] * _DEGREE, 0.0
    for n in range(_DEGREE):
        lengths += q**n
        term = factors[n] * (q / 2.0) ** (n + 1) / lengths / single
        for k in range(n + 1):
            found[k] += term
    return tuple(map(float, found))


def _mean_and_last(x: Scalar) -> tuple[Scalar, Scalar]:
    """Return (1 - exp(-x)) / x and exp(-x), for x from 0 to 40, both to double precision.

    Where x is small the first would be a difference of nearly equal numbers. So it is computed of a
    part of x, by the continued fraction of tanh, and then doubled: 1 - e^2 = (1 - e) (1 + e).
    """
    half = x / 2.0 ** (_HALVINGS + 1)
    square = half * half
    fraction = 11.0
    for odd in (9.0, 7.0, 5.0, 3.0, 1.0):
        fraction = odd + square / fraction
    over = 1.0 / fraction  # tanh(half) / half
    tanh = over * half
    mean, left = over / (1.0 + tanh), (1.0 - tanh) / (1.0 + tanh)
    for _ in range(_HALVINGS):
        mean, left = mean * (1.0 + left) * 0.5, left * left
    return mean, left
