"""A Gaussian process on few noisy scores: it predicts the score of any setting.

Optuna's treats all values as equally exact and needs 0.1 s or more for a proposal. This one is
given the variance of each score, and starts from how much each parameter usually matters.
Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, algorithm 2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Predict = Callable[[Array], Array]  # points x parameters -> expected scores, lower is better

NOISE = 0.2  # variance of a measured score, from the seed
SCALES = (0.3, 0.6, 1.2)  # length scales, as parts of a range
# Factors on these by parameter: the learning rate explains half of the differences between
# settings, weight decay a sixth, all others together a fiftieth.
MATTERS = {"lr": 0.4, "weight_decay": 0.7, "timescale": 0.7}
MATTERS_LITTLE = 1.4


def lengths(names: Sequence[str]) -> list[Array]:
    """Return the length scales to try: with the usual weight per parameter, and with equal ones."""
    usual = np.array([MATTERS.get(name, MATTERS_LITTLE) for name in names])
    return [scale * shape for scale, shape in product(SCALES, (usual, np.ones(len(names))))]


def fit(points: Array, scores: Array, doubts: Array, scales: Sequence[Array]) -> Predict:
    """Return the expected score at any point.

    Args:
        points: Observed settings x parameters, each in [0, 1].
        scores: Of these, lower is better.
        doubts: Variance of each score, added to that of the seed.
        scales: Length scales by parameter; the most likely ones are used.
    """
    centre, spread = scores.mean(), scores.std() or 1.0
    target = (scores - centre) / spread
    noise = np.diag((doubts + NOISE) / spread**2)
    square = _squares(points, points)
    fits = [_solve(square, target, noise, length) for length in scales]
    best = max(range(len(fits)), key=lambda i: fits[i][0])
    weights, length = fits[best][1], scales[best]

    def predict(asked: Array) -> Array:
        """Return the expected scores."""
        return np.asarray(centre + spread * (_kernel(_squares(asked, points), length) @ weights))

    return predict


def _squares(some: Array, others: Array) -> Array:
    return (some[:, None] - others[None]) ** 2


def _kernel(square: Array, length: Array) -> Array:
    return np.exp(-0.5 * square @ length**-2.0)


def _solve(square: Array, target: Array, noise: Array, length: Array) -> tuple[float, Array]:
    """Return the log-likelihood without its constant, and the weights of the points."""
    root = np.linalg.cholesky(_kernel(square, length) + noise)
    weights = np.linalg.solve(root.T, np.linalg.solve(root, target))
    return float(-0.5 * target @ weights - np.log(np.diag(root)).sum()), weights
