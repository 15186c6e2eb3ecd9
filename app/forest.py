"""A small forest of randomised regression trees: what a setting's loss would be.

Source: Geurts, Ernst and Wehenkel, Extremely randomized trees, Machine Learning 63, 2006.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Places = NDArray[np.intp]

LEAF = 2  # rows that are not split further
TRIED = 4  # thresholds of each parameter at a node
END = -1  # parameter of a leaf


@dataclass(frozen=True, kw_only=True)
class Tree:
    """One tree; the rows of ``children`` are the nodes below, a leaf's are itself."""

    parameters: Places
    thresholds: Array
    children: Places
    values: Array

    def __call__(self, points: Array) -> Array:
        """Return the expected loss at each point."""
        at = np.zeros(len(points), dtype=np.intp)
        rows = np.arange(len(points))
        while True:
            inner = self.parameters[at] != END
            if not inner.any():
                return self.values[at]
            right = points[rows, self.parameters[at]] > self.thresholds[at]
            at = self.children[at, right.astype(np.intp)]


def grow(points: Array, losses: Array, generator: np.random.Generator) -> Tree:
    """Return a tree: each node takes the best of a few random thresholds.

    Args:
        points: Settings x parameters.
        losses: Of the settings.
        generator: Draws the thresholds.
    """
    nodes: list[tuple[int, float, float]] = []
    children: list[tuple[int, int]] = []
    waiting = [(np.arange(len(points)), -1, 0)]  # rows, the node above, on which side
    while waiting:
        rows, above, side = waiting.pop()
        here = len(nodes)
        parameter, threshold = _split(points[rows], losses[rows], generator)
        nodes.append((parameter, threshold, float(losses[rows].mean())))
        children.append((here, here))
        if above >= 0:
            left, right = children[above]
            children[above] = (left, here) if side else (here, right)
        if parameter != END:
            over = points[rows, parameter] > threshold
            waiting += [(rows[~over], here, 0), (rows[over], here, 1)]
    parameters, thresholds, values = zip(*nodes, strict=True)
    return Tree(
        parameters=np.array(parameters, dtype=np.intp),
        thresholds=np.array(thresholds),
        children=np.array(children, dtype=np.intp),
        values=np.array(values),
    )


def _split(points: Array, losses: Array, generator: np.random.Generator) -> tuple[int, float]:
    """Return the parameter and the threshold of a node; no parameter for a leaf."""
    low, high = points.min(axis=0), points.max(axis=0)
    if len(losses) <= LEAF or not (high > low).any() or losses.min() == losses.max():
        return END, 0.0
    # Below `high`, so that no side is empty.
    thresholds = low + generator.random((TRIED, len(low))) * (high - low)
    over = points > thresholds[:, None]
    counts = over.sum(axis=1)
    usable = (counts > 0) & (counts < len(losses))
    if not usable.any():
        return END, 0.0
    above = np.einsum("r,trp->tp", losses - losses.mean(), over)
    # The sum of squares that the split explains: the parts' sums are `above` and its opposite.
    explained = above**2 * (1 / np.maximum(counts, 1) + 1 / np.maximum(len(losses) - counts, 1))
    best = int(np.argmax(np.where(usable, explained, -1.0)))
    return best % len(low), float(thresholds.flat[best])
