"""What the best settings share: PED-ANOVA, with ranges of bootstrap draws.

Each parameter is laid on a grid. Its share is the Pearson divergence of the density of the best
settings from that of all, each a sum of kernels whose width follows Scott's rule. Optuna has the
same, and a test holds both to equal numbers; to import it takes a second and 90 MB, and to copy
10,000 trials into a study of its own several seconds more.
Sources: Watanabe and others, PED-ANOVA, IJCAI 2023; for parameters that not all settings have:
Conditional PED-ANOVA, arXiv 2601.20800.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from autotune.app.axes import Axis, value
from autotune.app.explained import DRAWS, Importance, summary
from autotune.app.fidelity import Sample

AFFORDABLE = 500  # trials beyond which drawing again and again would keep a reader waiting
TOP = 5  # settings that are wanted among the best
CELLS = 50  # of a number's grid
ABSENT = -1  # cell of a setting that does not have the parameter
FEWEST = 2  # settings that a density is made of
NARROWEST = 0.5 / 1.64  # cells: nine tenths of a kernel lie in its own one
FLOOR = 1e-12  # of a density, which is divided by

Array = NDArray[np.float64]
Cells = NDArray[np.int64]


def quantile(count: int) -> float:
    """Return the share of trials that counts as best: a tenth, more when trials are few."""
    return max(0.1, min(0.5, TOP / count))


def of_best(sample: Sample, axes: Sequence[Axis], draws: int = DRAWS) -> dict[str, Importance]:
    """Return by parameter how much the best settings have in common."""
    count, losses = len(sample.trials), np.array(sample.losses)
    cells = {
        axis.name: _cells(axis, [value(trial, axis.name) for trial in sample.trials])
        for axis in axes
    }
    generator, whole = random.Random(0), np.arange(count)
    drawn = [
        _shares(axes, cells, losses, np.array(generator.choices(range(count), k=count)))
        for _ in range(draws if count <= AFFORDABLE else 0)
    ]
    known = _shares(axes, cells, losses, whole)
    ranked = sorted(known, key=known.__getitem__, reverse=True)
    return {n: summary(known[n], [d.get(n, 0.0) for d in drawn]) for n in ranked}


def _cells(axis: Axis, items: Sequence[float | str | None]) -> Cells:
    """Return in which cell of an axis each value lies."""
    if axis.choices:
        places = {choice: i for i, choice in enumerate(axis.choices)}
        return np.array([ABSENT if item is None else places[str(item)] for item in items])
    known = np.array([math.nan if item is None else float(item) for item in items])
    low, high = axis.low, axis.high
    if axis.log:
        known, low, high = np.log(known), math.log(low), math.log(high)
    step = (high - low) / (CELLS - 1) or 1.0
    # Half way between two cells is in the lower one.
    found = np.clip(np.ceil((known - low) / step - 0.5), 0, CELLS - 1)
    return np.where(np.isnan(known), ABSENT, found).astype(np.int64)


def _shares(
    axes: Sequence[Axis], cells: Mapping[str, Cells], losses: Array, rows: NDArray[np.int64]
) -> dict[str, float]:
    """Return shares that sum to 1 of the parameters that some of the settings have."""
    here = losses[rows]
    worst = math.ceil(quantile(len(rows)) * len(rows)) - 1
    best = here <= np.partition(here, worst)[worst]
    found = {
        axis.name: _moved(axis, own, best)
        for axis in axes
        if ((own := cells[axis.name][rows]) != ABSENT).any()
    }
    total = sum(found.values())
    return {name: one / total if total else 1 / len(found) for name, one in found.items()}


def _moved(axis: Axis, cells: Cells, best: NDArray[np.bool_]) -> float:
    """Return how far the best settings lie from all of them on an axis."""
    present = cells != ABSENT
    chosen = present & best
    if present.sum() < FEWEST or not chosen.any():
        return 0.0
    size = len(axis.choices) or CELLS
    top, every = (
        _density(np.bincount(cells[those], minlength=size), ordered=not axis.choices) + FLOOR
        for those in (chosen, present)
    )
    weight = (chosen.sum() / best.sum()) ** 2 / present.mean()
    return float(weight * (every @ (top / every - 1) ** 2))


def _density(counts: NDArray[np.int64], *, ordered: bool) -> Array:
    """Return the density over the cells; one more setting may lie anywhere.

    Args:
        counts: Settings in each cell.
        ordered: Whether neighbouring cells are alike.
    """
    held = np.flatnonzero(counts)
    weights = counts[held].astype(np.float64)
    if ordered:
        kernels = _bells(held, _width(held, weights), len(counts))
        anywhere = _bells(np.array([(len(counts) - 1) / 2]), len(counts), len(counts))[0]
    else:
        kernels = np.full((len(held), len(counts)), 1 / (len(held) + 1))
        kernels[np.arange(len(held)), held] += 1
        kernels /= kernels.sum(axis=1, keepdims=True)
        anywhere = np.full(len(counts), 1 / len(counts))
    density: Array = (weights @ kernels + anywhere) / (weights.sum() + 1)
    return density


def _width(cells: NDArray[np.int64], weights: Array) -> float:
    """Return the width of kernels by Scott's rule, in cells."""
    below, total = np.cumsum(weights), weights.sum()
    mean = cells @ weights / total
    deviation = math.sqrt((cells - mean) ** 2 @ weights / max(1.0, total - 1))
    first = np.searchsorted(below, total // 4, side="left")
    third = min(len(cells) - 1, np.searchsorted(below, total * 3 // 4, side="right"))
    between = float(cells[third] - cells[first])
    return max(1.059 * min(between / 1.34, deviation) * float(total**-0.2), NARROWEST)


def _bells(middles: NDArray[np.generic], width: float, size: int) -> Array:
    """Return normal kernels by row, each summed over every cell and cut off at both ends."""
    edges = np.arange(size + 1) - 0.5
    far = (edges[None, :] - np.asarray(middles, dtype=np.float64)[:, None]) / width
    known, places = np.unique(far, return_inverse=True)
    below = np.array([_below(one) for one in known])[places].reshape(far.shape)
    inside: Array = np.diff(below, axis=1) / (below[:, -1:] - below[:, :1])
    return inside


def _below(deviations: float) -> float:
    """Return the share of a normal distribution that lies below."""
    return 0.5 * math.erfc(-deviations / math.sqrt(2))
