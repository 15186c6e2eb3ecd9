"""Predict for every setting how good a full run would be, and how certain that is.

Trials stop at different rungs, so their losses cannot be compared directly. Each loss is replaced
by its rank among the trials measured at the same rung. How a rank at a rung translates into a rank
at the end is fitted on the trials that went further. Where short runs do not predict the end, the
fitted slope is near 0, or negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from autotune.pruners.auto import ranking
from autotune.pruners.ladder import Ladder, Losses
from autotune.studies.records import TrialRecord, TrialState

BELIEF = 10.0  # weight of the prior, in trials: after that many, data and prior count alike
SLOPE = 0.7  # prior: slope of the final score on the score at a rung
SPREAD = 0.5  # prior: variance around that line
BLIND = 0.1  # variance added for each rung that no trial has passed


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The predicted final result of a trial.

    Args:
        score: In standard deviations over all settings; lower is better.
        doubt: Variance of the score.
    """

    score: float
    doubt: float


def forecasts(trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder) -> dict[int, Forecast]:
    """Return by id the forecast of every measured trial that neither failed nor diverged.

    A diverged trial still counts as the worst at every rung.
    """
    alive = [trial for trial in trials if trial.state is not TrialState.FAILED]
    diverged = {trial.id for trial in alive if trial.state is TrialState.DIVERGED}
    found: dict[int, Forecast] = {}
    for passed, step in enumerate(reversed(rungs.steps)):
        here = _scores(alive, losses, step)
        known = [id for id in here if id in found]
        left = [id for id in here if id not in found and id not in diverged]
        these = _by_line(here, known, left, found) if known else _without_line(here, left, passed)
        found.update(these)
    return found


def _scores(trials: Sequence[TrialRecord], losses: Losses, step: int) -> dict[int, float]:
    """Return the normal scores of the trials at a rung; diverged trials are worst."""
    order = ranking(trials, losses, step)
    return {t.id: score for t, score in zip(order, _normal(len(order)), strict=True)}


@cache
def _normal(count: int) -> tuple[float, ...]:
    """Return the typical values of ``count`` ordered draws from a normal distribution."""
    normal = NormalDist()
    return tuple(normal.inv_cdf((place + 0.5) / count) for place in range(count))


def _without_line(here: dict[int, float], left: Sequence[int], passed: int) -> dict[int, Forecast]:
    return {id: Forecast(score=here[id], doubt=BLIND * passed) for id in left}


def _by_line(
    here: dict[int, float], known: Sequence[int], left: Sequence[int], found: dict[int, Forecast]
) -> dict[int, Forecast]:
    """Forecast with a line fitted to the trials that went further, with a prior on the line."""
    place = np.array([here[id] for id in known])
    score = np.array([found[id].score for id in known])
    middle, height = float(place.mean()), float(score.mean())
    apart = place - middle
    slope = (BELIEF * SLOPE + apart @ (score - height)) / (BELIEF + apart @ apart)
    rest = score - height - slope * apart
    doubt = float((BELIEF * SPREAD + rest @ rest) / (BELIEF + len(known)))
    return {
        id: Forecast(score=float(height + slope * (here[id] - middle)), doubt=doubt) for id in left
    }
