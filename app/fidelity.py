"""Losses that may be compared: those of different settings after the same number of steps."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from autotune.app.points import Curves, Points
from autotune.studies.records import Role, TrialRecord, TrialState

MIN_SETTINGS = 8  # settings without which a parameter's effect is anyone's guess


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
    return next(samples(trials, curves, enough))


def samples(
    trials: Sequence[TrialRecord], curves: Curves, enough: int = MIN_SETTINGS
) -> Iterator[Sample]:
    """Yield a sample at each step that ``enough`` trials reached, the longest first.

    Where no step is reached by so many, the most reached one counts; there is always a sample.
    """
    searched = [trial for trial in trials if trial.role is Role.SEARCH]
    diverged = tuple(t for t in searched if t.state is TrialState.DIVERGED)
    points = Points.of(curves)
    reached = points.reached([trial.id for trial in searched])
    reached.update(trial.step for trial in _beyond(searched, points))
    if not reached:
        yield Sample(diverged=diverged)
        return
    most = min(enough, max(reached.values()))
    steps = sorted((step for step, count in reached.items() if count >= most), reverse=True)
    target = max(trial.target for trial in searched)
    for step in steps:
        yield _at(step, target, searched, losses_at(searched, points, step), diverged)


def _beyond(trials: Sequence[TrialRecord], points: Points) -> list[TrialRecord]:
    """Return the trials whose last loss is at a step that their curves do not have."""
    ended = [trial for trial in trials if _is_known(trial)]
    held = points.holds([trial.id for trial in ended], [trial.step for trial in ended])
    return [trial for trial, known in zip(ended, held, strict=True) if not known]


def _at(
    step: int,
    target: int,
    searched: Sequence[TrialRecord],
    losses: Mapping[int, float],
    diverged: tuple[TrialRecord, ...],
) -> Sample:
    pairs = [(losses[t.id], t) for t in searched if t.id in losses]
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


def losses_at(trials: Sequence[TrialRecord], curves: Curves, step: int) -> dict[int, float]:
    """Return the finite validation losses of trials after so many steps, by trial id.

    A trial's last loss is one of them. The store keeps only finite ones, but another program may
    have written to its tables.
    """
    known = Points.of(curves).at(step)
    losses = {trial.id: known[trial.id] for trial in trials if trial.id in known}
    own = {t.id: t.loss for t in trials if t.step == step and t.loss is not None and _is_known(t)}
    return losses | own


def _is_known(trial: TrialRecord) -> bool:
    return trial.loss is not None and isfinite(trial.loss)
