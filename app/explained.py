"""What explains the loss: how far it moves when one parameter of a setting is another's.

A forest of regression trees predicts the loss, and each parameter in turn is taken from another
setting: the share of the variance that this moves is Sobol's total index, which counts what a
parameter does together with others as well.
Source: Saltelli and others, Computer Physics Communications 181, 2010, Jansen's estimator.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from autotune.app import words
from autotune.app.axes import Axis, value
from autotune.app.fidelity import MIN_SETTINGS, Sample
from autotune.app.forest import Array, Tree, grow
from autotune.studies.records import TrialRecord

DRAWS = 20  # bootstrap draws of the settings
TREES = 5  # grown on each draw
MOST = 300  # settings; of more, so many are drawn
EXCHANGES = 600  # exchanged values for each parameter, at least
FAR = 10.0  # losses count up to so many times as far above the median as the best is below
NOTHING = 0.005  # a standard deviation that is a smaller part of the median is no difference
ABOVE_NOISE = 2.0  # least ratio of the settings' standard deviation to that between seeds
# Standard errors by which predictions must agree with losses they were not given: of pure noise,
# one in twenty samples does. Below two settings for each parameter one is as rare.
CERTAIN, AMONG_FEW, FEWEST = 2.0, 1.0, 2
FEW = 5  # settings for each parameter, below which shares are rough


@dataclass(frozen=True, kw_only=True)
class Importance:
    """A parameter's share, and the range nine of ten bootstrap draws fell into, if drawn."""

    share: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What explains the losses of a sample.

    Args:
        shares: By parameter, the largest first; empty where nothing can be said.
        sample: The settings that were compared.
        total: How many there are, diverged ones included.
        used: How many of these were looked at.
        agreement: Correlation of losses with predictions that did not know them.
        refusal: Why there are no shares.
        rough: Whether the settings are few for so many parameters.
    """

    sample: Sample
    shares: Mapping[str, Importance] = field(default_factory=dict)
    total: int = 0
    used: int = 0
    agreement: float = 0.0
    refusal: str | None = None
    rough: bool = False


@dataclass(frozen=True, kw_only=True)
class _Data:
    """Settings as numbers: rows of ``points``, whether each value has an effect, and losses."""

    points: Array
    active: NDArray[np.bool_]
    losses: Array


@dataclass(frozen=True, kw_only=True)
class _Draw:
    """Trees of one bootstrap draw, and which settings it left out."""

    trees: Sequence[Tree]
    left_out: NDArray[np.bool_]

    def __call__(self, points: Array) -> Array:
        predicted: Array = np.mean([tree(points) for tree in self.trees], axis=0)
        return predicted


def summary(share: float, drawn: Sequence[float]) -> Importance:
    """Return a share with the range of its bootstrap draws, if there are any."""
    if not drawn:
        return Importance(share=share)
    ranked = sorted(drawn)
    cut = len(ranked) // 20
    return Importance(share=share, low=ranked[cut], high=ranked[-1 - cut])


def explain(
    sample: Sample, axes: Sequence[Axis], *, noise: float | None = None, draws: int = DRAWS
) -> Explained:
    """Return what explains the losses of a sample, or why that cannot be said.

    Args:
        sample: Settings measured after equally many steps; diverged ones count as the worst.
        axes: The parameters that vary.
        noise: Standard deviation of one setting's loss over seeds, if known.
        draws: Bootstrap draws for the ranges; 0 gives none.
    """
    trials, losses = counted(sample)
    refusal = _too_little(sample, trials, axes) or _flat(sample, noise)
    if refusal:
        return Explained(sample=sample, total=len(trials), refusal=refusal)
    generator = np.random.default_rng(0)
    data = _drawn(_data(trials, losses, axes), generator)
    forest = [_grown(data, generator) for _ in range(draws or DRAWS)]
    agreement, count = _agreement(forest, data), len(data.losses)
    least = CERTAIN if count >= FEWEST * len(axes) else AMONG_FEW
    if agreement < least / math.sqrt(count - 1):
        return Explained(sample=sample, total=len(trials), refusal=_unexplained(sample))
    each = np.array([_shares(draw, data, generator) for draw in forest])
    shares = {
        axis.name: summary(float(column.mean()), column.tolist() if draws else ())
        for axis, column in zip(axes, each.T, strict=True)
    }
    ranked = sorted(shares.items(), key=lambda item: -item[1].share)
    return Explained(
        sample=sample,
        shares=dict(ranked),
        total=len(trials),
        used=count,
        agreement=agreement,
        rough=count < FEW * len(axes),
    )


def counted(sample: Sample) -> tuple[list[TrialRecord], Array]:
    """Return the settings that say something and their losses: bounded, diverged ones worst."""
    diverged = {trial.id for trial in sample.diverged}
    pairs = list(zip(sample.trials, sample.losses, strict=True))
    measured = [(trial, loss) for trial, loss in pairs if trial.id not in diverged]
    trials = [*(trial for trial, _ in measured), *sample.diverged]
    if not measured:
        return trials, np.zeros(len(trials))
    losses = np.array([loss for _, loss in measured])
    middle = float(np.median(losses))
    # One loss of 1e9 must not make all others look alike.
    if scale := middle - losses.min():
        losses = np.minimum(losses, middle + FAR * scale)
    worst = losses.max() + (float(np.ptp(losses)) or abs(middle) or 1.0)
    return trials, np.append(losses, np.full(len(diverged), worst))


def _too_little(sample: Sample, trials: Sequence[TrialRecord], axes: Sequence[Axis]) -> str | None:
    if len(trials) < MIN_SETTINGS:
        return (
            f"Importance needs {MIN_SETTINGS} settings measured after equally many steps; "
            f"there are {len(trials)}."
        )
    if len(trials) == len(sample.diverged):
        return f"All {len(trials)} settings diverged: no loss tells which parameter decides."
    return None if axes else "All settings are alike in every parameter."


def _flat(sample: Sample, noise: float | None) -> str | None:
    """Return why losses that hardly differ are not explained; None where they differ."""
    if sample.diverged:
        return None
    losses = np.array(sample.losses)
    size = float(np.abs(losses).max()) or 1.0
    spread = float((losses / size).std()) * size  # the square of 1e200 is no number
    between = f"{words.number(sample.losses[0])} to {words.number(sample.losses[-1])}"
    if noise is not None and noise > 0:
        if spread >= ABOVE_NOISE * noise:
            return None
        return f"The losses of {sample}, {between}, differ no more than one setting's over seeds."
    if spread > NOTHING * abs(float(np.median(losses))):
        return None
    return (
        f"The losses of {sample}, {between}, hardly differ: at chance, or as good with any "
        "setting. There is nothing to explain."
    )


def _unexplained(sample: Sample) -> str:
    return (
        f"The parameters do not explain the losses of {sample}: predicted from the other "
        "settings, they are no better than chance. More settings, or longer runs, may tell."
    )


def _data(trials: Sequence[TrialRecord], losses: Array, axes: Sequence[Axis]) -> _Data:
    given = [[value(trial, axis.name) for axis in axes] for trial in trials]
    placed = [
        [
            math.nan if item is None else axis.place(item)
            for item, axis in zip(row, axes, strict=True)
        ]
        for row in given
    ]
    points, losses = np.array(placed), losses / (float(np.abs(losses).max()) or 1.0)
    active = ~np.isnan(points)
    # A value without an effect stands in the middle, where it tells nothing.
    return _Data(
        points=np.where(active, points, np.nanmedian(points, axis=0)), active=active, losses=losses
    )


def _drawn(data: _Data, generator: np.random.Generator) -> _Data:
    """Return a draw of so many settings as can be explained while a reader waits."""
    if len(data.losses) <= MOST:
        return data
    rows = generator.choice(len(data.losses), MOST, replace=False)
    return _Data(points=data.points[rows], active=data.active[rows], losses=data.losses[rows])


def _grown(data: _Data, generator: np.random.Generator) -> _Draw:
    count = len(data.losses)
    rows = generator.integers(count, size=count)
    left_out = np.ones(count, dtype=np.bool_)
    left_out[rows] = False
    points, losses = data.points[rows], data.losses[rows]
    trees = [grow(points, losses, generator) for _ in range(TREES)]
    return _Draw(trees=trees, left_out=left_out)


def _agreement(forest: Sequence[_Draw], data: _Data) -> float:
    """Return the correlation of losses with what draws without them predict."""
    total, times = np.zeros(len(data.losses)), np.zeros(len(data.losses))
    for draw in forest:
        total += np.where(draw.left_out, draw(data.points), 0.0)
        times += draw.left_out
    told = times > 0
    predicted, losses = total[told] / times[told], data.losses[told]
    if len(losses) < 2 or predicted.std() == 0 or losses.std() == 0:
        return 0.0
    return max(0.0, float(np.corrcoef(predicted, losses)[0, 1]))


def _shares(draw: _Draw, data: _Data, generator: np.random.Generator) -> Array:
    """Return by parameter the share of what exchanging it moves."""
    count, width = data.points.shape
    rows = np.tile(np.arange(count), math.ceil(EXCHANGES / count))
    points, active = data.points[rows], data.active[rows]
    whole = draw(points)
    moved = np.zeros(width)
    for place in range(width):
        here = active[:, place]
        if not here.any():
            continue
        others = points.copy()
        others[here, place] = generator.choice(
            data.points[data.active[:, place], place], here.sum()
        )
        moved[place] = np.square(draw(others) - whole).mean()
    total = moved.sum()
    return moved / total if total else moved
