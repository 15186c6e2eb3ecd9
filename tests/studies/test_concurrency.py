"""Several processes at one file: real ones, some of them killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from autotune.studies.records import TrialState
from autotune.studies.store import Store

OPEN_AND_ADD = """
import sys
from autotune.studies.records import Proposal, Role
from autotune.studies.setting import Setting
from autotune.studies.store import Store

proposal = Proposal(
    role=Role.SEARCH, origin="sobol", setting=Setting(params={}, hyper={}, warmup=0.0), seed=0,
    target=90,
)
sys.stdin.readline()
with Store(sys.argv[1]) as store:
    study = int(sys.argv[2])
    for _ in range(20 if study else 0):
        store.add_trial(study, proposal)
"""

RECORD_FOR_EVER = """
import itertools, sys
from autotune.studies.records import Point, TrialState
from autotune.studies.store import Store

with Store(sys.argv[1]) as store:
    for step in itertools.count(1):
        points = [Point(step=10 * step + i, seconds=0.0) for i in range(10)]
        store.record(1, 1, state=TrialState.RUNNING, step=10 * step + 9, points=points)
        print(step, flush=True)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request):
    return request.param


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-c", program, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run_together(program: str, *arguments: str) -> list[int]:
    """Run two processes that wait for a line before they begin, and return their exit codes."""
    processes = [start(program, *arguments) for _ in range(2)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
    return [process.returncode for process in processes]


def test_two_processes_give_out_each_number_once(store, search, url):
    assert run_together(OPEN_AND_ADD, url, "1") == [0, 0]
    assert [trial.number for trial in store.trials(1)] == list(range(40))


def test_two_processes_may_make_the_same_database(url):
    assert run_together(OPEN_AND_ADD, url, "0") == [0, 0]
    with Store(url) as store:
        assert store.searches() == []


@pytest.mark.parametrize("records", [1, 3])
def test_a_killed_writer_leaves_whole_records_behind(store, search, proposal, url, records):
    store.begin(store.add_trial(1, proposal()).id, "worker-1")
    writer = start(RECORD_FOR_EVER, url)
    for _ in range(records):
        writer.stdout.readline()
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()
    trial = store.trial(1)
    assert len(store.curve(1)) == trial.step - 9
    assert store.curve(1)[-1].step == trial.step


def test_a_killed_writers_trial_can_be_taken_over(store, search, proposal, url):
    store.begin(store.add_trial(1, proposal()).id, "worker-1")
    writer = start(RECORD_FOR_EVER, url)
    writer.stdout.readline()
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()
    attempt = store.begin(1, "worker-2")
    assert store.record(1, attempt, state=TrialState.COMPLETE, step=90, loss=0.5).loss == 0.5
