"""Signals from people, terminals, batch systems and service managers; a stderr that goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from autotune.cli.shared import stderr
from autotune.cli.shared.interrupt import Interrupt, interruptible
from autotune.cli.views.progress import listening
from autotune.engines.lines import whole_lines
from autotune.engines.serving import TOLD
from autotune.errors import Abort, AutotuneError
from autotune.search.events import Notice
from autotune.studies.records import SearchState, TrialState
from autotune.studies.store import Store
from autotune.testing.habits import eventually, job, over, search
from autotune.training.job import Outcome

SLOW = """
from autotune.training import checkpoint

checkpoint.worth_keeping = lambda *_: True
signal.signal(signal.SIGTERM, lambda *_: sys.exit("a handler of the user's own"))


def mine(seed):
    def loss(model, batch):
        time.sleep(0.02)
        return mean_square(model, batch)

    return problem(seed, loss)
"""


def running(folder):
    """Return whether a trial of the search in a folder has taken a step."""
    try:
        with Store(str(folder / "autotune.db"), read_only=True) as store:
            return store.searches() and any(map(store.curve, store.changes(1).held))
    except AutotuneError:
        return False


def everyone(leader):
    """Return the command and each process below it, as a service manager signals them."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            status = (Path("/proc") / name / "stat").read_text(encoding="utf-8")
        except OSError:
            continue
        parents[int(name)] = int(status.rpartition(")")[2].split()[1])
    found = [leader]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_what_runs_and_blames_nobody(write, forked, tmp_path, number):
    process = forked(*search(write(SLOW), "mine", "--steps", "900"))
    eventually(lambda: running(tmp_path), 60)
    os.kill(process.pid, number)  # twice, as timeout and shells do
    for pid in everyone(process.pid):
        os.kill(pid, number)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number, told
    assert "saved; go on with: autotune search --resume mine" in told
    with Store(str(tmp_path / "autotune.db")) as store:
        (trial,) = store.trials(1)
        assert (trial.state, trial.reason) == (TrialState.PAUSED, None)
        assert trial.step > 0
        assert trial.checkpoint
        assert store.search("mine").state is SearchState.INTERRUPTED


def test_the_second_ctrl_c_ends_a_hanging_search_at_once(write, forked, tmp_path):
    path = write(
        """
        def mine(seed):
            def loss(model, batch):
                open(os.path.join(os.path.dirname(__file__), "hangs"), "w").close()
                time.sleep(600)

            return problem(seed, loss)
        """
    )
    process = forked(*search(path))
    eventually((tmp_path / "hangs").exists, 60)
    process.send_signal(signal.SIGINT)
    eventually(lambda: "stopping" in process.stderr.readline())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_a_worker_that_is_told_to_end_ends_after_its_step(shared, write):
    shared.submit(job(write(SLOW), stop=100_000, evaluate=tuple(range(10, 500, 10))))
    over(shared, Outcome.PROGRESS)
    worker = shared._workers[0].process
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        os.kill(worker.pid, number)
    assert over(shared, Outcome.PROGRESS, Outcome.LOST).outcome is Outcome.PROGRESS
    os.kill(worker.pid, signal.SIGTERM)
    report = over(shared)
    assert (report.outcome, report.reason) == (Outcome.INTERRUPTED, None)
    assert 0 < report.step < 100_000
    worker.join(10)
    assert worker.exitcode == TOLD
    shared.submit(job(write(SLOW)))
    assert over(shared).outcome is Outcome.REACHED


def test_a_worker_that_is_told_to_end_before_it_listens_is_not_to_blame(shared, write):
    path = write(SLOW)
    shared._workers[0].process.kill()
    shared._workers[0].process.join()
    shared.submit(job(path))  # starts another
    os.kill(shared._workers[0].process.pid, signal.SIGTERM)
    report = over(shared)
    assert (report.outcome, report.blame) == (Outcome.LOST, False)
    shared.submit(job(path, attempt=2))
    assert over(shared).outcome is Outcome.REACHED


def test_only_a_person_means_a_second_signal_at_once():
    interrupt = Interrupt()
    interrupt(signal.SIGTERM, None)
    interrupt(signal.SIGTERM, None)
    interrupt(signal.SIGHUP, None)
    assert interrupt.exit_code == 143
    with pytest.raises(Abort):
        interrupt(signal.SIGINT, None)


def test_a_signal_is_told_of_even_as_a_line_is_being_written(monkeypatch, capfd):
    def entered_twice(*_, **__):
        raise RuntimeError("reentrant call")

    monkeypatch.setattr("click.echo", entered_twice)
    stderr.tell("stopping")
    assert capfd.readouterr().err == "stopping\n"


def test_signals_at_any_line_of_the_event_that_they_set_do_not_wait_for_its_lock():
    script = """
import itertools, signal, sys
from autotune.cli.shared.interrupt import Interrupt
from autotune.errors import Abort

def signalled(act, place):
    interrupt, places = Interrupt(), itertools.count()

    def at_each_line(frame, event, value):
        if next(places) == place:
            signal.raise_signal(signal.SIGINT)
        return at_each_line

    signal.signal(signal.SIGINT, interrupt)
    sys.settrace(at_each_line)
    try:
        act(interrupt.halt)
    except Abort:
        pass
    sys.settrace(None)
    happened = next(places) > place
    assert interrupt.halt.is_set() or not happened
    return happened

for act in (lambda halt: halt.wait(0.001), lambda halt: halt.set()):
    interrupted = sum(signalled(act, place) for place in range(40))
    assert interrupted > 3
"""
    subprocess.run([sys.executable, "-c", script], timeout=30, check=True, capture_output=True)


def test_a_later_second_signal_is_meant():
    interrupt = Interrupt()
    interrupt(signal.SIGTERM, None)
    interrupt._received -= 2.0
    with pytest.raises(Abort):
        interrupt(signal.SIGTERM, None)


def test_a_hangup_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupt.halt.is_set()
            os.kill(os.getpid(), signal.SIGUSR1)
            assert interrupt.exit_code == 128 + signal.SIGUSR1
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_handler_of_the_users_gives_the_signals_back():
    with interruptible() as interrupt:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        interrupt.keeping(lambda event: None)(Notice(text="a trial ended"))
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.halt.is_set()


def test_progress_ends_where_nobody_reads_it_and_the_search_does_not(monkeypatch):
    closed = []

    def broken(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr("click.echo", broken)
    monkeypatch.setattr("autotune.cli.views.progress.close_stderr", lambda: closed.append(1))
    with listening("plain") as listen:
        listen(Notice(text="a trial ended"))
    assert closed == [1]
    monkeypatch.setattr(stderr, "close_stderr", lambda: closed.append(2))
    stderr.tell("stopping")
    assert closed == [1, 2]


def test_a_search_goes_on_when_what_reads_its_progress_is_gone(write, command, tmp_path):
    reading, writing = os.pipe()
    path = write(
        """
        def mine(seed):
            print("talk")
            return problem(seed)
        """
    )
    process = command(*search(path), stderr=writing)
    os.close(writing)
    os.close(reading)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert "adamw" in said
    with Store(str(tmp_path / "autotune.db")) as store:
        assert store.search("mine").state is SearchState.COMPLETE


def test_what_a_trial_prints_is_lost_where_nobody_reads_it():
    reading, writing = os.pipe()
    os.close(reading)
    stream = whole_lines(writing)
    print("talk", file=stream)
    stream.flush()
    os.close(writing)
    print("more", file=stream, flush=True)


def test_lines_of_trials_do_not_mix():
    reading, writing = os.pipe()
    one, other = whole_lines(writing), whole_lines(writing)
    print("half of", end=" ", file=one, flush=True)
    print("whole", file=other)
    print("a line", file=one)
    print("\r 10 %\r100 %", file=one)
    os.close(writing)
    with os.fdopen(reading) as file:
        assert file.read() == "whole\nhalf of a line\n100 %\n"


def test_a_search_in_another_thread_leaves_signals_alone():
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def enter():
        with interruptible():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [before]
