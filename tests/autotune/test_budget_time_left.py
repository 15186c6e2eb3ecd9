"""How long a search will take, as it is told while only a limit of full runs holds."""

from __future__ import annotations

import pytest

from autotune.pruners.ladder import Ladder
from autotune.scheduler.budget import BudgetTracker
from autotune.scheduler.policy import Policy
from autotune.scheduler.study_state import StudyState
from autotune.space.spaces import build
from autotune.studies.records import StudyRecord, TrialRecord, TrialState
from autotune.studies.spec import parse
from autotune.testing.trials import search_trial

SPACE = build({"lr": ("log", 1e-4, 1e-1)}, {"lr": 1e-3, "weight_decay": 0.0}, {})


def trial(number: int, seconds: float, **changes: object) -> TrialRecord:
    """Return half a full run."""
    lr = {"lr": 1e-3}
    known = {"params": lr, "hyper": lr, "state": TrialState.PAUSED, "step": 32, "loss": 1.0}
    return search_trial(number, id=number, study=0, target=64, seconds=seconds, **known | changes)


def left(*seconds: float, overhead: float = 0.0, **changes: object) -> float | None:
    """Return the time left of 20 full runs after half ones that took so many seconds."""
    state = StudyState(
        study=StudyRecord(id=0, search="net", optimizer="adan", space={}),
        space=SPACE,
        presets=[SPACE.preset({}, 0.1, "preset:default")],
        policy=Policy.of(parse({"model": "net", "optimizers": ["adan"], "budget": {"runs": 20}})),
        ladder=Ladder(steps=(32, 64), first=32),
    )
    for number, each in enumerate(seconds):
        state.keep(trial(number, each, **changes))
    tracker = BudgetTracker(
        states=[state],
        slots=2,
        elapsed=lambda: 0.0,
        overhead=lambda: overhead,
    )
    return tracker.seconds_left()


@pytest.mark.parametrize("seconds", [(), (9.0,), (9.0, 5.0, 5.0)], ids=len)
def test_nothing_is_told_before_a_tenth_of_the_work_is_done(seconds: tuple[float, ...]) -> None:
    assert left(*seconds) is None


def test_nothing_is_told_where_every_trial_failed_at_once() -> None:
    assert left(*[0.1] * 9, state=TrialState.FAILED, step=0, loss=None) is None


@pytest.mark.parametrize("first", [5.0, 60.0, 600.0])
def test_a_slow_start_of_each_worker_is_not_believed(first: float) -> None:
    assert left(first, first, 5.0, 5.0, 5.0) == pytest.approx(17.5 * 10 / 2)


def test_the_time_of_deciding_counts_up_to_that_of_training() -> None:
    half_runs = [5.0] * 5
    assert left(*half_runs, overhead=2.0) == pytest.approx(17.5 * 12 / 2)
    assert left(*half_runs, overhead=500.0) == pytest.approx(17.5 * 20 / 2)
