"""How good each setting looks so far, on one scale: what a full run would say, and how surely.

Trials end at different rungs, so their losses do not compare. A loss becomes its place among those
measured at the same rung, and what a place there is worth at the end is learned from the trials
that went further. Where short runs mislead, little is learned from them, or the contrary.
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

BELIEF = 10.0  # trials that would have to say otherwise before what is believed at first is halved
SLOPE = 0.7  # of the score at the end on the score at a rung, believed at first
SPREAD = 0.5  # variance around it, believed at first
BLIND = 0.1  # variance for each rung that nobody has passed


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a trial is worth.

    Args:
        score: In standard deviations of settings; lower is better.
        doubt: Its variance.
    """

    score: float
    doubt: float


def forecasts(trials: Iterable[TrialRecord], losses: Losses, rungs: Ladder) -> dict[int, Forecast]:
    """Return the forecast of every trial that was measured and neither failed nor diverged, by id.

    A diverged one counts as the worst at every rung.
    """
    alive = [trial for trial in trials if trial.state is not TrialState.FAILED]
    diverged = {trial.id for trial in alive if trial.state is TrialState.DIVERGED}
    found: dict[int, Forecast] = {}
    for passed, step in enumerate(reversed(rungs.steps)):
        here = _scores(alive, losses, step)
        known = [id for id in here if id in found]
        left = [id for id in here if id not in found and id not in diverged]
        told = _told(here, known, left, found) if known else _blind(here, left, passed)
        found.update(told)
    return found


def _scores(trials: Sequence[TrialRecord], losses: Losses, step: int) -> dict[int, float]:
    """Return the normal scores of those that reached a rung; what diverged is worst."""
    order = ranking(trials, losses, step)
    return {t.id: score for t, score in zip(order, _normal(len(order)), strict=True)}


@cache
def _normal(count: int) -> tuple[float, ...]:
    """Return what the ordered values of ``count`` draws of a normal distribution are like."""
    normal = NormalDist()
    return tuple(normal.inv_cdf((place + 0.5) / count) for place in range(count))


def _blind(here: dict[int, float], left: Sequence[int], passed: int) -> dict[int, Forecast]:
    return {id: Forecast(score=here[id], doubt=BLIND * passed) for id in left}


def _told(
    here: dict[int, float], known: Sequence[int], left: Sequence[int], found: dict[int, Forecast]
) -> dict[int, Forecast]:
    """Forecast by a line through those that went further, drawn with what is believed at first."""
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
