"""A generator where trials run: in worker processes, on Ray, and never in a batch."""

import time

import pytest

from autotune.testing.habits import alive, ended, eventually, job
from autotune.training.job import Outcome

LOOPS = """
import os, signal, time


def train(seed, steps):
    try:
        for step in (*range(1, 10), steps):
            yield step, seed + os.getpid() / 1e9
    finally:
        with open(f"closed-{seed}", "w") as file:
            file.write("x")


def hang(seed):
    yield 1, 1.0
    time.sleep(600)


def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        try:
            yield 3, 1.0
            time.sleep(600)
        except GeneratorExit:
            pass
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "loops.py"
    path.write_text(LOOPS)
    return path


def test_a_trial_goes_on_where_it_is_kept_and_all_is_closed_at_the_end(quick, file):
    engine = quick(workers=2, step_timeout=3.0)
    try:
        for trial in (1, 2):
            engine.submit(job(file, "train", trial=trial, seed=trial, stop=3))
        first = {}
        while len(first) < 2:
            for report in engine.reports(0.2):
                if report.outcome is not Outcome.PROGRESS:
                    first[report.trial] = report
        assert {report.kept for report in first.values()} == {True}
        for trial, start, stop in ((2, 3, 6), (1, 3, 9), (2, 6, 9)):
            again = job(file, "train", trial=trial, seed=trial, start=start, stop=stop)
            [last] = ended(engine, again)
            assert (last.worker, last.outcome) == (first[trial].worker, Outcome.REACHED)
            assert [point.step for point in last.points] == list(range(start + 1, stop + 1))
        [hung] = ended(engine, job(file, "hang", trial=3, stop=9))
        assert hung.outcome is Outcome.FAILED
        assert hung.reason.startswith("it measured nothing for 3 s; --step-timeout sets how long")
        [paused] = ended(engine, job(file, "deaf", trial=4, stop=3))
        assert paused.kept
        workers = [worker.process.pid for worker in engine._workers]
    finally:
        began = time.monotonic()
        engine.close()
    assert time.monotonic() - began < 8  # of the 10 that workers have to end
    eventually(lambda: not any(map(alive, workers)))
    assert (file.parent / "closed-2").exists() or (file.parent / "closed-1").exists()
