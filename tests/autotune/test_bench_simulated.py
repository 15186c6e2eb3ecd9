"""Recorded trials behave as trials of any engine do, on a clock that jumps."""

import numpy as np
import pytest

from autotune.bench.search.grid import ground
from autotune.bench.search.simulated import Simulated
from autotune.bench.search.table import Table
from autotune.errors import SpecError
from autotune.testing.trials import nested
from autotune.training.job import Job, Outcome

AXES = {"lr": (1e-3, 1e-2), "weight_decay": (0.0, 0.1)}
HYPER = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
LOSSES = [
    # by seed, setting and rung; the last setting diverges between steps 3 and 9
    [[3.0, 2.0, 1.0], [3.1, 2.1, 1.1], [2.9, 1.9, 0.9], [5.0, np.inf, np.inf]],
    [[3.2, 2.2, 1.2], [3.3, 2.3, 1.3], [2.7, 1.7, 0.7], [5.2, np.inf, np.inf]],
]
SEEDS = {40: 1, 41: 0}


def engine(workers=1):
    table = Table(name="small", axes=AXES, rungs=(3, 9, 27), losses=np.array(LOSSES))
    return Simulated(workers, ground(table), SEEDS)


def job(trial=1, **changes):
    fields = {
        "trial": trial, "attempt": 1, "task": {}, "optimizer": "adamw", "hyper": HYPER,
        "warmup": 0.1, "seed": 41, "start": 0, "stop": 27, "target": 27, "evaluate": (3, 9, 27),
        **changes,
    }  # fmt: skip
    return Job(**nested(**fields))


def everything(engine):
    """Return the reports until nothing runs, each with the time it came at."""
    told = []
    while reports := engine.reports(0.0):
        told += [(report, engine.clock) for report in reports]
    return told


def test_a_job_tells_its_losses_at_the_rungs_and_ends_at_its_stop():
    simulated = engine()
    simulated.submit(job())
    told = everything(simulated)
    assert [report.outcome for report, _ in told] == ["progress", "progress", "reached"]
    assert [(p.step, p.loss) for report, _ in told for p in report.points] == [
        (3, 3.0), (9, 2.0), (27, 1.0)
    ]  # fmt: skip


def test_the_clock_counts_full_runs():
    simulated = engine()
    simulated.submit(job(stop=9))
    assert [clock for _, clock in everything(simulated)] == pytest.approx([3 / 27, 9 / 27])
    simulated.submit(job(start=9))
    (report, clock), *rest = everything(simulated)
    assert (clock, rest) == (pytest.approx(1.0), [])
    assert report.seconds == pytest.approx(18 / 27)


def test_jobs_of_several_workers_overlap():
    simulated = engine(workers=2)
    simulated.submit(job(1))
    simulated.reports(0.0)
    simulated.submit(job(2, stop=9))
    ends = [
        (report.trial, round(27 * clock))
        for report, clock in everything(simulated)
        if report.outcome is Outcome.REACHED
    ]
    assert ends == [(2, 12), (1, 27)]


def test_a_job_s_seed_says_which_recorded_run_it_is():
    simulated = engine()
    simulated.submit(job(seed=40))
    assert everything(simulated)[-1][0].points[0].loss == 1.2


def test_a_seed_that_was_not_recorded_is_a_failure_that_costs_nothing():
    simulated = engine()
    simulated.submit(job(seed=7))
    ((report, clock),) = everything(simulated)
    assert (report.outcome, report.step, clock) == (Outcome.FAILED, 0, 0.0)
    assert report.reason == "small holds no run of the seed 7"


def test_the_nearest_recorded_setting_is_replayed():
    simulated = engine()
    simulated.submit(job(hyper={**HYPER, "lr": 0.02, "weight_decay": 0.01}))
    assert everything(simulated)[-1][0].points[0].loss == 0.9


def test_a_diverged_run_ends_where_it_was_seen_to():
    simulated = engine()
    simulated.submit(job(hyper={**HYPER, "lr": 0.01, "weight_decay": 0.1}))
    told = everything(simulated)
    last, clock = told[-1]
    assert [report.outcome for report, _ in told] == [Outcome.PROGRESS, Outcome.DIVERGED]
    assert (last.step, last.points, clock) == (9, (), pytest.approx(9 / 27))
    assert last.reason == "validation loss was inf at step 9"


def test_a_run_that_would_diverge_later_reaches_an_earlier_stop():
    simulated = engine()
    simulated.submit(job(hyper={**HYPER, "lr": 0.01, "weight_decay": 0.1}, stop=3))
    assert [report.outcome for report, _ in everything(simulated)] == [Outcome.REACHED]


def test_an_interrupted_job_ends_at_the_step_it_is_in_and_goes_on_from_there():
    simulated = engine(workers=2)
    simulated.submit(job(1))
    simulated.submit(job(2, stop=9))
    while simulated.clock < 9 / 27 - 1e-9:
        simulated.reports(0.0)
    simulated.interrupt(1)
    stopped = next(r for r, _ in everything(simulated) if r.trial == 1)
    assert (stopped.outcome, stopped.step, stopped.saved) == (Outcome.INTERRUPTED, 9, True)
    simulated.submit(job(1, start=stopped.step))
    assert everything(simulated)[-1][0].points[0].loss == 1.0


def test_an_interrupt_reaches_every_job_or_the_one_that_is_named():
    simulated = engine(workers=2)
    simulated.submit(job(1))
    simulated.submit(job(2))
    simulated.interrupt(2)
    outcomes = {report.trial: report.outcome for report, _ in everything(simulated)}
    assert outcomes == {1: Outcome.REACHED, 2: Outcome.INTERRUPTED}
    simulated.submit(job(3))
    simulated.interrupt()
    assert [report.outcome for report, _ in everything(simulated)] == [Outcome.INTERRUPTED]


def test_nothing_is_killed_and_closing_forgets():
    simulated = engine()
    simulated.submit(job())
    simulated.kill()
    assert simulated.reports(0.0)[0].outcome is Outcome.PROGRESS
    simulated.close()
    assert simulated.reports(0.0) == []


def test_steps_that_were_not_measured_are_refused():
    with pytest.raises(SpecError, match=r"^small was measured at steps 3, 9, 27, not at 5, 13$"):
        engine().submit(job(stop=13, evaluate=(5, 9)))
