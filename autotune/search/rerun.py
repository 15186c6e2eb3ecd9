"""Run one stored trial again: the same setting and seed must give the same curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune import environment
from autotune.config import refuse_asked
from autotune.engines.inline import Inline
from autotune.errors import NothingUsable, SpecError
from autotune.pruners.ladder import rungs_of
from autotune.search.carried import task_arguments
from autotune.search.facts import changed_facts
from autotune.seeds import training
from autotune.studies.names import BATCHED
from autotune.studies.records import Point, Role, SearchRecord, TrialRecord, TrialState, mixed
from autotune.studies.spec import parse
from autotune.tasks.resolve import resolve
from autotune.training.job import Job, Outcome, Report

SIMULATED = "simulated"
# Outcomes of trials that ended before their last step.
_ENDS = {TrialState.DIVERGED: Outcome.DIVERGED, TrialState.FAILED: Outcome.FAILED}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The point at which two curves differ most."""

    metric: str
    step: int
    size: float


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """The curve of a second run compared with the stored one.

    Args:
        equal: Whether curves and endings are the same, bit for bit.
        largest: The largest difference of finite values; None if there is none.
        compared: Number of points that both curves have.
        points: Points of the second run.
        outcome: How the second run ended.
        reason: Why it ended early, if it did.
        notes: Other differences from the first run.
    """

    equal: bool
    largest: Difference | None
    compared: int
    points: tuple[Point, ...]
    outcome: Outcome
    reason: str | None
    notes: tuple[str, ...] = ()


def rerun(search: SearchRecord, trial: TrialRecord, curve: Sequence[Point], job: Job) -> Rerun:
    """Run a trial's job in this process and compare its curve with the stored one."""
    reports = _run(job)
    points = tuple(point for report in reports for point in report.points)
    end = reports[-1]
    ended = end.outcome is _ENDS.get(trial.state, Outcome.REACHED)
    pairs = _pairs(curve, points)
    same = all(one == other for _, _, one, other in pairs)
    last = max((point.step for point in curve), default=0)
    return Rerun(
        equal=ended and same and all(last == p[-1].step for p in (points, curve) if p),
        largest=_largest(pairs),
        compared=len({step for step, *_ in pairs}),
        points=points,
        outcome=end.outcome,
        reason=end.reason,
        notes=tuple(_notes(search)),
    )


def whole(search: SearchRecord, optimizer: str, trial: TrialRecord, curve: Sequence[Point]) -> Job:
    """Return a stored trial as one job from its first step to its last.

    Raises:
        SpecError: It was not trained, or its task has changed.
        NothingUsable: It has taken no step.
    """
    who = f"trial {trial.number} of {search.name}/{optimizer}"
    spec = parse(dict(search.spec))
    if trial.role is Role.ADDED:
        raise SpecError(f"{who} was measured elsewhere: there is nothing to run again")
    if spec.engine == SIMULATED:
        raise SpecError(
            f"{who} was read from the table '{search.task.get('data')}', not trained: "
            "there is nothing to run again"
        )
    refuse_asked(spec)
    stop = trial.target if trial.state in _ENDS else max(trial.step, *_steps(curve), 0)
    if not stop:
        raise NothingUsable(f"{who} has taken no step yet, it is {trial.state}")
    arguments = task_arguments(spec, search.task)
    changed = changed_facts(search.task, resolve(**arguments).facts())
    if changed:
        raise SpecError(
            f"{who} cannot be run again: another {' and '.join(changed)} than it was trained with"
        )
    return Job(
        trial=trial.id,
        attempt=1,
        task=arguments,
        optimizer=optimizer,
        setting=trial.setting,
        seed=training(spec.seed, trial.seed),
        start=0,
        stop=stop,
        target=trial.target,
        evaluate=tuple(step for step in rungs_of(search.task).steps if step <= stop),
    )


def _steps(curve: Sequence[Point]) -> list[int]:
    return [point.step for point in curve]


def _run(job: Job) -> list[Report]:
    engine = Inline()
    found: list[Report] = []
    try:
        engine.submit(job)
        while not found or found[-1].outcome is Outcome.PROGRESS:
            found += engine.reports(0.0)
    finally:
        engine.close()
    return found


_METRICS = {"training loss": "train_loss", "validation loss": "loss", "accuracy": "accuracy"}
_Pair = tuple[int, str, float | None, float | None]


def _pairs(curve: Sequence[Point], points: Sequence[Point]) -> list[_Pair]:
    """Pair the values at the steps that both curves have."""
    again = {point.step: point for point in points}
    return [
        (one.step, metric, getattr(one, name), getattr(again[one.step], name))
        for one in curve
        if one.step in again
        for metric, name in _METRICS.items()
    ]


def _largest(pairs: Sequence[_Pair]) -> Difference | None:
    found = [
        Difference(metric=metric, step=step, size=abs(one - other))
        for step, metric, one, other in pairs
        if one is not None and other is not None and one != other
    ]
    return max(found, key=lambda each: each.size, default=None)


def _notes(search: SearchRecord) -> list[str]:
    """Return what may cause differences."""
    here = environment.facts(optimizers=[study.optimizer for study in search.studies])
    notes = [
        f"the search was begun with {text}"
        for text in environment.differences(search.environment, here)
    ]
    if search.spec.get("engine") == BATCHED:
        notes.append("it was trained in a batch, which agrees with a single run to rounding")
    return notes + [text for text in [mixed(search.task)] if text]
