"""Losses that may be compared: those of different settings after the same number of steps."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from autotune.studies.records import Point, Role, TrialRecord, TrialState

MIN_SETTINGS = 8  # settings without which a parameter's effect is anyone's guess

Curves = Mapping[int, Sequence[Point]]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Search trials and their losses after ``step`` of ``target`` steps, the best first."""

    step: int = 0
    target: int = 0
    trials: tuple[TrialRecord, ...] = ()
    losses: tuple[float, ...] = ()
    diverged: tuple[TrialRecord, ...] = ()

    def __str__(self) -> str:
        """Say what is compared."""
        noun = "trial" if len(self.trials) == 1 else "trials"
        return f"{len(self.trials)} {noun} after {self.step} of {self.target} steps"


def sample(trials: Sequence[TrialRecord], curves: Curves, enough: int = MIN_SETTINGS) -> Sample:
    """Compare at the longest step that ``enough`` trials reached, else at the most reached one."""
    return samples(trials, curves, enough)[0]


def samples(
    trials: Sequence[TrialRecord], curves: Curves, enough: int = MIN_SETTINGS
) -> list[Sample]:
    """Return a sample at each step that ``enough`` trials reached, the longest first.

    Where no step is reached by so many, the most reached one counts; there is always a sample.
    """
    searched = [trial for trial in trials if trial.role is Role.SEARCH]
    diverged = tuple(t for t in searched if t.state is TrialState.DIVERGED)
    measured = {trial.id: losses_by_step(trial, curves) for trial in searched}
    reached = Counter(step for losses in measured.values() for step in losses)
    if not reached:
        return [Sample(diverged=diverged)]
    most = min(enough, max(reached.values()))
    steps = sorted((step for step, count in reached.items() if count >= most), reverse=True)
    target = max(trial.target for trial in searched)
    return [_at(step, target, searched, measured, diverged) for step in steps]


def _at(
    step: int,
    target: int,
    searched: Sequence[TrialRecord],
    measured: Mapping[int, Mapping[int, float]],
    diverged: tuple[TrialRecord, ...],
) -> Sample:
    pairs = [(measured[t.id][step], t) for t in searched if step in measured[t.id]]
    pairs.sort(key=lambda pair: (pair[0], pair[1].number))
    return Sample(
        step=step,
        target=target,
        trials=tuple(trial for _, trial in pairs),
        losses=tuple(loss for loss, _ in pairs),
        diverged=diverged,
    )


def narrowed(sample: Sample, numbers: Collection[int] | None) -> Sample:
    """Return the part of a sample that is of these trials; None: all of it."""
    if numbers is None:
        return sample
    pairs = zip(sample.trials, sample.losses, strict=True)
    kept = [(trial, loss) for trial, loss in pairs if trial.number in numbers]
    return replace(
        sample,
        trials=tuple(trial for trial, _ in kept),
        losses=tuple(loss for _, loss in kept),
        diverged=tuple(trial for trial in sample.diverged if trial.number in numbers),
    )


def thinned(sample: Sample, limit: int) -> list[int]:
    """Return the places of all trials, or of the best quarter and a fixed draw of the others."""
    count, top = len(sample.trials), limit // 4
    if count <= limit:
        return list(range(count))
    return [*range(top), *sorted(random.Random(0).sample(range(top, count), limit - top))]


def share(sample: Sample, limit: int) -> str:
    """Say how many trials ``thinned`` leaves."""
    count, top = len(sample.trials), limit // 4
    if count <= limit:
        return "all are drawn"
    return f"the best {top} and a random {limit - top} are drawn"


def losses_by_step(trial: TrialRecord, curves: Curves) -> dict[int, float]:
    """Return the finite validation losses of a trial, its last one included.

    The store keeps no others, but another program may have written to its tables.
    """
    points = curves.get(trial.id, ())
    losses = {p.step: p.loss for p in points if p.loss is not None and isfinite(p.loss)}
    if trial.loss is not None and isfinite(trial.loss):
        losses[trial.step] = trial.loss
    return losses
