"""What a trial leaves behind in its worker is not taken for a property of the next setting."""

from __future__ import annotations

import os
import signal
import time

import pytest

from autotune.testing.habits import eventually, job, over
from autotune.training.job import Outcome

LEAKS = """
import resource, threading

KEPT = []


def before(do):
    def mine(seed):
        def loss(model, batch):
            do()
            return mean_square(model, batch)

        return problem(seed, loss)

    return mine


def files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    KEPT.append(os.dup(2))


def counter():
    KEPT.append(1)
    assert len(KEPT) < 12, "a counter that nobody resets"


def memory():
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    if not KEPT:
        resource.setrlimit(resource.RLIMIT_AS, (used + (800 << 20),) * 2)
    KEPT.append(torch.ones(48 << 20, dtype=torch.uint8))


open_files = before(lambda: [files() for _ in range(15)])
counted = before(counter)
leaking = before(memory)
greedy = before(lambda: torch.ones(1 << 60))
full = before(lambda: (_ for _ in ()).throw(OSError(12, "Cannot allocate memory")))
"""


@pytest.fixture(scope="module")
def engine(quick):
    engine = quick(workers=1)
    yield engine
    engine.close()


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("counted", "AssertionError: a counter that nobody resets"),
        ("open_files", "OSError: [Errno 24] Too many open files"),
        ("leaking", "out of memory after step"),
    ],
)
def test_a_trial_that_fails_in_a_used_worker_is_run_again_in_a_new_one(
    engine, write, function, why
):
    path = write(LEAKS)
    notices = []
    for trial in (1, 2, 3):
        engine.submit(job(path, function, trial=trial))
        report = over(engine)
        assert report.outcome is Outcome.REACHED
        notices.append(report.reason)
    (told,) = set(filter(None, notices))
    assert told.startswith(f"run again in a new worker, as it failed in an older one: {why}")


@pytest.mark.parametrize("function", ["greedy", "full"])
def test_a_setting_without_memory_in_a_new_worker_has_diverged(engine, write, function):
    before = engine._workers[0].process.pid
    engine.submit(job(write(LEAKS), function))
    report = over(engine)
    assert (report.outcome, report.reason) == (
        Outcome.DIVERGED, "out of memory after step 0"
    )  # fmt: skip
    engine.submit(job(write(LEAKS), "problem"))
    assert over(engine).outcome is Outcome.REACHED
    assert engine._workers[0].process.pid != before


LARGE = """
def note(word):
    with open(os.path.join(os.path.dirname(__file__), "log"), "a") as file:
        print(word, os.getpid(), file=file)


def long(seed):
    def loss(model, batch):
        time.sleep(0.1)
        return mean_square(model, batch)

    note("other begins")
    return problem(seed, loss)


def large(seed):
    def loss(model, batch):
        if not os.path.exists(os.path.join(os.path.dirname(__file__), "enough")):
            raise MemoryError
        return mean_square(model, batch)

    note("large begins")
    return problem(seed, loss)
"""


def test_a_trial_without_memory_is_run_again_alone(quick, write, tmp_path):
    engine = quick(workers=2)
    try:
        path = write(LARGE)
        engine.submit(job(path, "long", trial=1, evaluate=()))
        eventually((tmp_path / "log").exists)
        engine.submit(job(path, "large", trial=2, evaluate=()))
        eventually(lambda: engine.reports(0.1) or engine._again)
        (tmp_path / "enough").touch()
        ends = [over(engine), over(engine)]
        assert [(end.trial, end.outcome) for end in ends] == [
            (1, Outcome.REACHED), (2, Outcome.REACHED)
        ]  # fmt: skip
        assert "failed in an older one: out of memory" in ends[1].reason
    finally:
        engine.close()


def test_a_killed_trial_is_next_tried_alone_in_a_new_worker(engine, write):
    path = write(
        """
        def mine(seed):
            def loss(model, batch):
                time.sleep(0.05)
                return mean_square(model, batch)

            return problem(seed, loss)
        """
    )
    engine.submit(job(path, trial=7, stop=10_000, evaluate=range(1, 500)))
    over(engine, Outcome.PROGRESS)
    os.kill(engine._workers[0].process.pid, signal.SIGKILL)  # as a system without memory does
    report = over(engine)
    assert (report.outcome, report.blame) == (Outcome.LOST, True)
    engine.submit(job(path, trial=8))
    over(engine)
    used = engine._workers[0].process.pid
    engine.submit(job(path, trial=7, attempt=2))
    report = over(engine)
    assert (report.outcome, report.attempt) == (Outcome.REACHED, 2)
    assert report.reason.endswith("its worker died (SIGKILL)")
    assert engine._workers[0].process.pid != used


def test_a_waiting_trial_ends_at_once_when_the_search_is_stopped(quick, write, tmp_path):
    engine = quick(workers=2)
    try:
        path = write(LARGE)
        engine.submit(job(path, "long", trial=1, stop=10_000))
        eventually((tmp_path / "log").exists)
        engine.submit(job(path, "large", trial=2))
        eventually(lambda: engine.reports(0.1) or engine._again)
        began = time.monotonic()
        engine.interrupt()
        assert {over(engine).outcome for _ in range(2)} == {Outcome.INTERRUPTED}
        assert time.monotonic() - began < 10
    finally:
        engine.close()


def test_a_trial_that_fails_while_the_search_stops_is_left_for_the_next_sitting(
    engine, write, tmp_path
):
    path = write(
        """
        def mine(seed):
            def loss(model, batch):
                here = os.path.dirname(__file__)
                open(os.path.join(here, "begun"), "w").close()
                while not os.path.exists(os.path.join(here, "stopped")):
                    time.sleep(0.05)
                raise RuntimeError("a process of the loader was told to end, too")

            return problem(seed, loss)
        """
    )
    engine.submit(job(write("", "other.py"), "problem"))
    over(engine)
    engine.submit(job(path, trial=9))
    eventually((tmp_path / "begun").exists)
    engine.interrupt()
    (tmp_path / "stopped").touch()
    report = over(engine)
    assert (report.outcome, report.blame) == (Outcome.LOST, False)
    assert "told to end, too" in report.reason
    engine.submit(job(path, trial=9, attempt=2))
    assert over(engine).outcome is Outcome.FAILED
