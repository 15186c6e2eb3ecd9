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
        own = losses[rows]
        mean = np.add.reduce(own) / len(own)  # `own.mean()` takes thrice as long
        parameter, threshold = END, 0.0
        if len(own) > LEAF and own.min() < own.max():
            parameter, threshold = _split(points[rows], own - mean, generator)
        nodes.append((parameter, threshold, float(mean)))
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


def _split(points: Array, apart: Array, generator: np.random.Generator) -> tuple[int, float]:
    """Return the parameter and the threshold of a node; no parameter for a leaf.

    Args:
        points: The node's settings x parameters.
        apart: How far their losses are from the node's mean.
        generator: Draws the thresholds.
    """
    low, high = np.minimum.reduce(points), np.maximum.reduce(points)
    if not (high > low).any():
        return END, 0.0
    # Below `high`, so that no side is empty.
    thresholds = low + generator.random((TRIED, len(low))) * (high - low)
    over = points > thresholds[:, None]
    counts = np.add.reduce(over, axis=1, dtype=np.intp)
    usable = (counts > 0) & (counts < len(apart))
    if not usable.any():
        return END, 0.0
    above = np.einsum("r,trp->tp", apart, over)
    # The sum of squares that the split explains: the parts' sums are `above` and its opposite.
    explained = above**2 * (1 / np.maximum(counts, 1) + 1 / np.maximum(len(apart) - counts, 1))
    best = int(np.argmax(np.where(usable, explained, -1.0)))
    return best % len(low), float(thresholds.flat[best])
