"""A user's code starts processes of its own; they work, and end with the worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from autotune.testing.habits import alive, ended, eventually, job, over
from autotune.training.job import Outcome

CHILDREN = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from torch.utils.data import DataLoader, Dataset


class Rows(Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, k):
        row = torch.full((4,), float(k))
        return row, row.sum()[None]


def double(k):
    return 2.0 * k


def loader(seed, **how):
    return problem(seed, train=DataLoader(Rows(), batch_size=8, num_workers=2, **how))


def forked(seed):
    return loader(seed)


def lasting(seed):
    return loader(seed, persistent_workers=True)


@cache
def batches():
    how = {"num_workers": 1, "multiprocessing_context": "spawn"}
    return list(DataLoader(Rows(), batch_size=8, **how))


def spawned(seed):
    return problem(seed, train=batches())


def pool(seed):
    with multiprocessing.Pool(2) as workers:  # ends them by SIGTERM
        assert workers.map(double, [1, 2]) == [2.0, 4.0]
    return problem(seed)


def executor(seed):
    with ProcessPoolExecutor(2) as workers:
        assert list(workers.map(double, [1, 2])) == [2.0, 4.0]
    return problem(seed)


def joblib(seed):  # its processes know nothing of the main module
    from joblib import Parallel, delayed

    assert Parallel(n_jobs=2)(delayed(double)(k) for k in [1, 2]) == [2.0, 4.0]
    return problem(seed)
"""


@pytest.mark.parametrize("function", ["forked", "lasting", "spawned", "pool", "executor", "joblib"])
def test_a_trial_may_start_processes(shared, write, function):
    (report,) = ended(shared, job(write(CHILDREN), function))
    assert (report.outcome, report.reason) == (Outcome.REACHED, None)


TOLD_AT_ONCE = """
import signal


def mine(seed):
    for _ in range(50):
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(1)
        os.kill(child, signal.SIGTERM)
        deadline = time.monotonic() + 5
        while not (ended := os.waitpid(child, os.WNOHANG)) != (0, 0):
            assert time.monotonic() < deadline, "a child that was told to end goes on"
            time.sleep(0.001)
        assert os.WTERMSIG(ended[1]) == signal.SIGTERM
    return problem(seed)
"""


def test_a_child_that_is_told_to_end_as_it_is_forked_ends(shared, write):
    (report,) = ended(shared, job(write(TOLD_AT_ONCE)))
    assert (report.outcome, report.reason) == (Outcome.REACHED, None)


LINGERING = """
import multiprocessing, subprocess


def mine(seed):
    children = [multiprocessing.Process(target=time.sleep, args=(600,))]
    children[0].start()
    children.append(subprocess.Popen(["sleep", "600"]))
    os.system("sleep 600 &")  # keeps what it inherits open

    def loss(model, batch):
        with open(os.path.join(os.path.dirname(__file__), "pids"), "w") as file:
            print(os.getpid(), *[child.pid for child in children], file=file, flush=True)
        time.sleep(600)

    return problem(seed, loss)
"""


def pids(path):
    file = path.parent / "pids"
    eventually(lambda: file.exists() and file.read_text().endswith("\n"))
    return [int(word) for word in file.read_text().split()]


def test_what_a_killed_worker_started_ends_with_it(shared, write):
    path = write(LINGERING)
    shared.submit(job(path))
    started = pids(path)
    os.kill(started[0], signal.SIGKILL)
    assert over(shared).reason == "its worker died (SIGKILL)"
    eventually(lambda: not any(map(alive, started)))


OWNER = """
import sys, time
from autotune.engines.processes import Processes
from autotune.testing.habits import job

if __name__ == "__main__":
    engine = Processes(workers=1)
    engine.submit(job(sys.argv[1]))
    time.sleep(600)
"""


def test_nothing_outlives_a_killed_command(write):
    path = write(LINGERING)
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(path)])
    started = pids(path)
    owner.kill()
    owner.wait()
    eventually(lambda: not any(map(alive, started)))
