"""How noisy gradients of a tuned setting are, from the measurements of its judging runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autotune.studies import gradients
from autotune.studies.reading import Reader
from autotune.studies.records import Gradient, Role, TrialRecord
from autotune.studies.setting import Setting

SOURCE = "McCandlish et al. 2018 (arXiv:1812.06162)"


@dataclass(frozen=True, kw_only=True)
class GradientNoise:
    """The noise of single samples' gradients, a mean over places of several runs.

    Args:
        variance: Of single samples' gradients, summed over all parameters.
        square: Squared norm of their mean; below 0 where noise hid it.
        places: Measurements.
        runs: Runs that they are of.
        early: Noise scale at the runs' first places; None where noise hid the mean.
        late: Noise scale at their last, likewise.
    """

    variance: float
    square: float
    places: int
    runs: int
    early: float | None
    late: float | None

    @property
    def scale(self) -> float | None:
        """The gradient noise scale in samples; None where noise hid the mean."""
        return _scale(self.variance, self.square)

    @property
    def origin(self) -> str:
        """Where the numbers come from."""
        runs = "1 judging run" if self.runs == 1 else f"{self.runs} judging runs"
        return f"measured at {self.places} steps of {runs}"


def load(store: Reader, trials: Iterable[TrialRecord], setting: Setting) -> GradientNoise | None:
    """Return the noise of a setting's judging runs among trials; None where none was measured."""
    judged = [t for t in trials if t.role is Role.JUDGE and t.setting.trains_like(setting)]
    return of_runs({trial.id: gradients.of(store, trial.id) for trial in judged})


def of_runs(measured: Mapping[int, Sequence[Gradient]]) -> GradientNoise | None:
    """Return the noise of runs by what was measured of their gradients; None without any.

    Both parts are averaged before their ratio is taken: the mean of noisy ratios would be biased.
    """
    by_run = {key: found for key, those in measured.items() if (found := _numbers(those))}
    if not by_run:
        return None
    every = [pair for found in by_run.values() for pair in found]
    variance, square = _means(every)
    return GradientNoise(
        variance=variance,
        square=square,
        places=len(every),
        runs=len(by_run),
        early=_scale(*_means([found[0] for found in by_run.values()])),
        late=_scale(*_means([found[-1] for found in by_run.values()])),
    )


def _numbers(measured: Sequence[Gradient]) -> list[tuple[float, float]]:
    return [
        (one.variance, one.square)
        for one in measured
        if one.variance is not None and one.square is not None
    ]


def _means(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    variances, squares = zip(*pairs, strict=True)
    return math.fsum(variances) / len(pairs), math.fsum(squares) / len(pairs)


def _scale(variance: float, square: float) -> float | None:
    return max(variance, 0.0) / square if square > 0 else None
