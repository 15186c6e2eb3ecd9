"""Trials in batches are the trials they would be alone, and leave the same states behind."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from autotune.engines import batched
from autotune.engines.batched import Batched
from autotune.engines.inline import Inline
from autotune.errors import AutotuneError, NotFound, SpecError
from autotune.search.coordinator import run
from autotune.studies.records import SearchState, TrialState
from autotune.studies.spec import Budget, SearchSpec
from autotune.studies.store import Store
from autotune.testing.trials import nested, setting_of
from autotune.training import checkpoint
from autotune.training.job import Job, Outcome

TASK = {"model": "mlp", "data": None, "steps": 27, "batch_size": 8}


@pytest.fixture(autouse=True)
def every_state_is_saved(monkeypatch):
    """Training the few steps again would be quicker."""
    monkeypatch.setattr(checkpoint, "BYTES_PER_SECOND", 1e15)


@pytest.fixture
def engine():
    engine = Batched(workers=8)
    yield engine
    engine.close()


def job(trial=1, folder=None, **changes):
    fields = {
        "trial": trial, "attempt": 1, "task": TASK, "optimizer": "adan-win",
        "hyper": {"lr": 0.002 * trial, "weight_decay": 0.02, "betas": (0.9, 0.9, 0.99)},
        "warmup": 0.1, "seed": trial % 2, "start": 0, "stop": 9, "target": 27,
        "evaluate": (1, 3, 9, 27),
        "checkpoint": str(folder / f"{trial}.pt") if folder else None, **changes,
    }  # fmt: skip
    return Job(**nested(**fields))


def finished(engine, jobs):
    """Return the last report of every job, and all points by trial."""
    last, points = {}, {}
    for each in jobs:
        engine.submit(each)
    while len(last) < len(jobs):
        collect(engine, last, points)
    return last, points


def collect(engine, last, points):
    for report in engine.reports(60.0):
        points.setdefault(report.trial, []).extend(report.points)
        if report.outcome is not Outcome.PROGRESS:
            last[report.trial] = report


def alone(jobs):
    """Return what jobs report in the engine that runs one after another."""
    last, points = {}, {}
    inline = Inline()
    for each in jobs:
        inline.submit(each)
        while each.trial not in last:
            collect(inline, last, points)
    inline.close()
    return last, points


def losses(points):
    return [
        [point.train_loss, point.train_loss if point.loss is None else point.loss]
        for point in points
    ]


def close(one, other):
    """Whether curves agree to rounding, and measure at the same steps."""
    facts = [
        [(point.step, point.loss is None, point.accuracy is None) for point in points]
        for points in (one, other)
    ]
    return facts[0] == facts[1] and np.allclose(losses(one), losses(other), rtol=1e-4)


def test_curves_are_those_of_single_trials(engine):
    jobs = [job(trial) for trial in range(1, 6)]
    last, points = finished(engine, jobs)
    single, expected = alone(jobs)
    assert {report.outcome for report in last.values()} == {Outcome.REACHED}
    for trial, report in last.items():
        assert close(points[trial], expected[trial])
        assert report.step == single[trial].step == 9
        assert report.facts == single[trial].facts


def test_trials_share_a_batch_when_they_start_and_stop_together(engine, monkeypatch):
    sizes = []

    def counted(lanes):
        sizes.append(len(lanes))
        return formed(lanes)

    formed = batched._parts
    monkeypatch.setattr(batched, "_parts", counted)
    jobs = [job(1), job(2, stop=27), job(3), job(4, stop=27), job(5), job(6, optimizer="adamw")]
    finished(engine, [replace(each, setting=setting_of(hyper={"lr": 1e-3})) for each in jobs])
    assert sizes == [3, 2, 1]


def test_a_batch_holds_no_more_than_is_quickest(engine, monkeypatch):
    quickest = replace(batched.task_of(job()), runs_at_once=2)
    monkeypatch.setattr(batched, "task_of", lambda _: quickest)
    for trial in (1, 2, 3):
        engine.submit(job(trial))
    reported = engine.reports(60.0)
    assert {report.trial for report in reported} == {1, 2}


def resumed(folder):
    return [
        job(trial, folder, start=9, stop=27, resume=str(folder / f"{trial}.pt"))
        for trial in (1, 2, 3)
    ]


def test_a_trial_goes_on_alone_from_what_a_batch_saved(engine, tmp_path):
    last, _ = finished(engine, [job(trial, tmp_path) for trial in (1, 2, 3)])
    assert all(report.saved for report in last.values())
    _, points = alone(resumed(tmp_path))
    _, whole = alone([job(trial, stop=27) for trial in (1, 2, 3)])
    for trial in (1, 2, 3):
        later = [point for point in whole[trial] if point.step > 9]
        assert close(points[trial], later)


def test_a_batch_goes_on_from_what_trials_saved_alone(engine, tmp_path):
    alone([job(trial, tmp_path) for trial in (1, 2, 3)])
    _, points = finished(engine, resumed(tmp_path))
    _, whole = alone([job(trial, stop=27) for trial in (1, 2, 3)])
    for trial in (1, 2, 3):
        later = [point for point in whole[trial] if point.step > 9]
        assert close(points[trial], later)


def test_a_trial_whose_state_is_gone_takes_its_steps_again(engine, tmp_path):
    finished(engine, [job(trial, tmp_path) for trial in (1, 2, 3)])
    (tmp_path / "2.pt").unlink()
    last, points = finished(engine, resumed(tmp_path))
    assert [points[trial][0].step for trial in (1, 2, 3)] == [10, 1, 10]
    said = "its checkpoint 2.pt is not on this machine, so steps 1 to 9 were repeated"
    assert [last[trial].reason for trial in (1, 2, 3)] == [None, said, None]


def test_a_saved_state_is_one_replica_s(engine, tmp_path):
    finished(engine, [job(trial, tmp_path) for trial in range(1, 9)])
    alone([job(9, tmp_path)])
    sizes = [(tmp_path / f"{trial}.pt").stat().st_size for trial in (1, 9)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_a_diverged_trial_ends_and_the_others_go_on(engine):
    wild = job(2, hyper={"lr": 1e38})
    last, points = finished(engine, [job(1), wild, job(3)])
    outcomes = {trial: report.outcome for trial, report in last.items()}
    assert outcomes == {1: Outcome.REACHED, 2: Outcome.DIVERGED, 3: Outcome.REACHED}
    assert last[2].reason == alone([wild])[0][2].reason
    assert all(math.isfinite(point.train_loss) for point in points[1] + points[3])


def test_an_interrupted_trial_is_saved_and_the_others_go_on(engine, tmp_path):
    for trial in (1, 2):
        engine.submit(job(trial, tmp_path))
    engine._advance()
    engine._advance()
    engine.interrupt(2)
    [report] = engine.reports(60.0)
    assert (report.trial, report.outcome, report.step) == (2, Outcome.INTERRUPTED, 2)
    assert report.saved
    assert [point.step for point in report.points] == [1, 2]
    [report] = engine.reports(60.0)
    assert (report.trial, report.outcome) == (1, Outcome.REACHED)


def test_trials_that_wait_are_interrupted_where_they_are(engine):
    engine.submit(job(1))
    engine.submit(job(2, start=3))
    engine.interrupt()
    told = [(report.trial, report.outcome, report.step) for report in engine.reports(0.0)]
    assert told == [(1, Outcome.INTERRUPTED, 0), (2, Outcome.INTERRUPTED, 3)]


def test_settings_of_other_rules_are_trained_too(engine):
    jobs = [
        job(trial, optimizer="lamb", hyper={"lr": 1e-3, "weight_decay": decay})
        for trial, decay in [(1, 0.1), (2, 0.0), (3, 0.2)]
    ]
    last, points = finished(engine, jobs)
    assert {report.outcome for report in last.values()} == {Outcome.REACHED}
    _, expected = alone(jobs)
    assert all(close(points[trial], expected[trial]) for trial in last)


def test_what_raises_fails_the_trials_of_its_batch(engine):
    last, _ = finished(engine, [job(1, hyper={"lr": -1.0})])
    assert last[1].outcome is Outcome.FAILED
    assert "lr must be at least 0 and finite, got -1" in last[1].reason


def test_a_batch_tells_of_its_progress_now_and_then(engine, monkeypatch):
    monkeypatch.setattr(batched, "QUIET", 0.0)
    engine.submit(job(1))
    first = engine.reports(60.0)[0]
    assert (first.outcome, first.step) == (Outcome.PROGRESS, 1)
    assert engine.reports(60.0)[0].step == 2


def test_reports_come_back_empty_when_time_is_up(engine):
    engine.submit(job(1))
    assert engine.reports(0.0) == []


def test_nothing_is_killed_in_this_process(engine):
    engine.submit(job(1))
    engine.kill()
    assert engine.reports(60.0)[0].outcome is Outcome.REACHED


def test_closing_gives_the_process_its_threads_back():
    before = torch.get_num_threads()
    Batched(workers=2).close()
    assert torch.get_num_threads() == before


def spec(**changes):
    fields = {
        "model": "mlp",
        "optimizers": ("adan-win",),
        "budget": Budget(trials=12),
        "workers": 8,
        "engine": "batched",
        "steps": 27,
        "batch_size": 8,
        **changes,
    }
    return SearchSpec(**fields)


@pytest.fixture
def store(tmp_path):
    with Store(f"sqlite:///{tmp_path}/autotune.db") as store:
        yield store


def test_a_search_runs_in_batches_to_its_end(store):
    found = run(spec(), store=store)
    assert found.search.state is SearchState.COMPLETE
    trials = store.trials(found.search.studies[0].id)
    ends = {TrialState.COMPLETE, TrialState.STOPPED, TrialState.DIVERGED}
    assert {trial.state for trial in trials} <= ends
    assert sum(trial.state is TrialState.COMPLETE for trial in trials) >= 7


def test_a_model_that_cannot_be_batched_is_refused_before_anything_is_stored(store):
    with pytest.raises(
        SpecError,
        match=r"^model 'resnet-mini' cannot be trained side by side, or is no quicker that way; "
        r"run it on the engine 'processes'$",
    ):
        run(spec(model="resnet-mini"), store=store)
    with pytest.raises(NotFound):
        store.search("resnet-mini")


def test_a_batch_that_needs_too_much_memory_is_trained_in_halves(engine, monkeypatch):
    _, whole = finished(engine, [job(trial) for trial in range(1, 7)])
    sizes, side_by_side = [], batched.SideBySide

    def made(task, optimizer, members):
        sizes.append(len(members))
        if len(members) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return side_by_side(task, optimizer, members)

    monkeypatch.setattr(batched, "SideBySide", made)
    last, points = finished(engine, [job(trial) for trial in range(1, 7)])
    assert sizes == [6, 3, 1, 1, 1, 1, 1, 1]
    assert {report.outcome for report in last.values()} == {Outcome.REACHED}
    for trial, expected in whole.items():
        assert [point.step for point in points[trial]] == [point.step for point in expected]


def test_a_trial_that_has_no_memory_alone_has_diverged_in_a_batch_too(engine, monkeypatch):
    def made(task, optimizer, members):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(batched, "SideBySide", made)
    last, _ = finished(engine, [job(1), job(2)])
    assert {report.outcome for report in last.values()} == {Outcome.DIVERGED}


def test_a_gpu_that_cannot_be_used_any_more_ends_the_engine(engine, monkeypatch):
    def made(task, optimizer, members):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(batched, "SideBySide", made)
    engine.submit(job(1))
    with pytest.raises(AutotuneError, match=r"^the GPU reported an error after which this process"):
        engine.reports(1.0)
