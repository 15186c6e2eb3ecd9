"""Where trials run: real processes, killed and left alone for real."""

import os
import signal
import subprocess
import sys
import time

import pytest

from autotune.engines import processes
from autotune.engines.inline import Inline
from autotune.testing.habits import over
from autotune.testing.trials import nested
from autotune.training.job import Job, Outcome

ENDLESS = 1_000_000


def job(task_file, **changes):
    task = {"model": f"{task_file}:problem", "data": None, "steps": ENDLESS, "batch_size": None}
    fields = {
        "trial": 1, "attempt": 1, "task": task, "optimizer": "adamw", "hyper": {}, "warmup": 0.1,
        "seed": 3, "start": 0, "stop": ENDLESS, "target": ENDLESS,
        "evaluate": tuple(range(50, 20_000, 50)), **changes,
    }  # fmt: skip
    return Job(**nested(**fields))


@pytest.fixture(scope="module")
def engine(quick):
    engine = quick(workers=1)
    yield engine
    engine.close()


def test_a_killed_job_is_lost_and_the_next_one_runs(engine, task_file):
    engine.submit(job(task_file))
    over(engine, Outcome.PROGRESS)
    engine.kill()
    lost = engine.reports(0.0)
    assert [(report.outcome, report.reason, report.blame) for report in lost] == [
        (Outcome.LOST, "its worker did not answer", False)
    ]
    engine.submit(job(task_file, attempt=2, stop=4))
    assert over(engine, Outcome.REACHED).attempt == 2


def test_a_worker_that_was_killed_is_reported_and_replaced(engine, task_file):
    engine.submit(job(task_file))
    over(engine, Outcome.PROGRESS)
    os.kill(engine._workers[0].process.pid, signal.SIGKILL)
    assert over(engine, Outcome.LOST).reason == "its worker died (SIGKILL)"
    engine.submit(job(task_file, attempt=2, stop=4))
    assert over(engine, Outcome.REACHED).attempt == 2


def test_an_interrupted_worker_stops_after_its_step(engine, task_file):
    engine.submit(job(task_file))
    over(engine, Outcome.PROGRESS)
    engine.interrupt()
    assert 0 < over(engine, Outcome.INTERRUPTED).step < ENDLESS


def test_a_worker_that_is_stopped_by_the_system_can_be_killed(engine, task_file):
    engine.submit(job(task_file))
    over(engine, Outcome.PROGRESS)
    os.kill(engine._workers[0].process.pid, signal.SIGSTOP)
    engine.interrupt()
    engine.kill(1)
    assert over(engine, Outcome.LOST).step == 0


def test_only_the_named_trial_is_killed(engine, task_file):
    engine.submit(job(task_file, stop=4))
    engine.kill(2)
    assert over(engine, Outcome.REACHED, Outcome.LOST).outcome is Outcome.REACHED


def test_an_idle_worker_that_died_costs_the_next_job_nothing(engine, task_file):
    engine._workers[0].process.kill()
    engine._workers[0].process.join()
    engine.submit(job(task_file, stop=4))
    assert over(engine, Outcome.REACHED, Outcome.LOST).outcome is Outcome.REACHED


def test_a_late_interrupt_does_not_stop_the_next_job(engine, task_file):
    engine.submit(job(task_file, stop=4))
    engine.interrupt()
    engine.interrupt()
    over(engine, Outcome.REACHED, Outcome.INTERRUPTED)
    engine.submit(job(task_file, trial=2, stop=5))
    assert over(engine, Outcome.REACHED, Outcome.INTERRUPTED).outcome is Outcome.REACHED


def test_reports_name_the_worker_and_the_optimizers_backend(engine, task_file):
    engine.submit(job(task_file, stop=4))
    report = over(engine, Outcome.REACHED)
    assert report.worker == f"{os.getpid()}-0"
    assert report.facts["backend"] in {"numba", "torch"}


def test_closing_ends_workers_at_work(quick, task_file):
    engine = quick(workers=2)
    engine.submit(job(task_file))
    over(engine, Outcome.PROGRESS)
    engine.close()
    assert not any(worker.process.is_alive() for worker in engine._workers)


def test_a_narrowed_engine_ends_the_workers_that_it_has_no_use_for(quick):
    engine = quick(workers=3)
    kept, *others = [worker.process for worker in engine._workers]
    engine.narrow(1)
    assert engine.slots == 1
    assert [worker.process for worker in engine._workers] == [kept]
    assert (kept.is_alive(), [one.is_alive() for one in others]) == (True, [False, False])
    engine.close()


def test_closing_takes_no_longer_than_its_grace_however_many_workers_hang(quick, monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 2.5)  # 1.5 for all of them, or 4.5 one after the other
    engine = quick(workers=3)
    for worker in engine._workers:
        os.kill(worker.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < 4.5
    assert not any(worker.process.is_alive() for worker in engine._workers)


def test_nothing_is_killed_in_this_process(task_file):
    engine = Inline()
    try:
        engine.submit(job(task_file, stop=4))
        engine.kill()
        assert over(engine, Outcome.REACHED).worker == "inline"
    finally:
        engine.close()


COORDINATOR = """
import os, signal, sys
from dataclasses import replace
from autotune.studies.setting import Setting
from autotune.training.job import Job, Outcome
from autotune.engines.processes import Processes

def over(outcome):
    while not any(report.outcome is outcome for report in engine.reports(1.0)):
        pass

if __name__ == "__main__":
    steps = 1_000_000
    task = {"model": sys.argv[1], "data": None, "steps": steps, "batch_size": None}
    job = Job(
        trial=1, attempt=1, task=task, optimizer="adamw",
        setting=Setting(params={}, hyper={}, warmup=0.1), seed=3, start=0, stop=1000,
        target=steps, evaluate=tuple(range(50, 20_000, 50)), checkpoint=sys.argv[2],
    )
    engine = Processes(workers=1)
    engine.submit(job)
    over(Outcome.REACHED)
    engine.submit(replace(job, start=1000, stop=steps))
    over(Outcome.PROGRESS)
    print(os.stat(sys.argv[2]).st_mtime_ns, flush=True)
    if sys.argv[3] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise RuntimeError("the coordinator's own mistake")
"""


@pytest.mark.parametrize("end", ["killed", "raised"])
def test_an_orphan_ends_without_touching_the_state_that_was_recorded(task_file, tmp_path, end):
    script, state = tmp_path / "coordinator.py", tmp_path / "1-0.pt"
    script.write_text(COORDINATOR)
    command = [sys.executable, "-P", str(script), f"{task_file}:problem", str(state), end]
    # The worker holds the other end of stdout, too: reading ends when both are gone.
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert int(ended.stdout) == state.stat().st_mtime_ns
    assert ended.returncode == (-signal.SIGKILL if end == "killed" else 1)
