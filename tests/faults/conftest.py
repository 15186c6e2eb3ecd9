"""A search of a second or two, how it ends undisturbed, and a table of what was done to it."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from autotune.search.coordinator import run
from autotune.search.events import Notice
from autotune.studies import leases
from autotune.studies.models import Base
from autotune.studies.records import Role, SearchState, TrialState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.testing.victims import own_loop
from autotune.training import checkpoint

SCARCE = re.compile(r"only \d+ settings? (was|were) tried")
TASK = """
import time

import torch
from autotune import Problem


def problem(seed):
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 4, generator=draw)
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    torch.manual_seed(seed)
    batches = list(zip(inputs[:64].split(8), targets[:64].split(8)))

    def loss(model, batch):
        time.sleep(0.001)
        return torch.nn.functional.mse_loss(model(batch[0]), batch[1])

    return Problem(
        model=torch.nn.Linear(4, 1),
        train=batches,
        validation=[(inputs[64:], targets[64:])],
        loss=loss,
    )
"""
START = Path(__file__).parents[2] / ".ci/postgres"
LONGEST = 1.5  # seconds before a fault: an undisturbed search takes about as long
RUNS = 12  # full runs that each optimizer may spend
ENDED = {TrialState.COMPLETE, TrialState.STOPPED, TrialState.DIVERGED, TrialState.FAILED}
FAULT = "fault"  # a property of a test's report: which fault, and what was lost in one round of it


def pytest_terminal_summary(terminalreporter):
    """Print a table of all rounds; reports come from every process that ran tests."""
    told = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == FAULT and report.when == "call":
                    fault, lost = value
                    told[fault, "rounds"] += 1
                    told[fault, "losses"] += lost
    if told:
        terminalreporter.section("faults")
        faults = sorted({fault for fault, _ in told})
        width = max(map(len, faults))
        terminalreporter.write_line(f"{'fault':{width}} {'rounds':>6} {'losses':>6}")
        for fault in faults:
            counts = told[fault, "rounds"], told[fault, "losses"]
            terminalreporter.write_line(f"{fault:{width}} {counts[0]:6} {counts[1]:6}")


@pytest.fixture
def rounds() -> int:
    return int(os.environ.get("FAULT_ROUNDS", "1"))


@pytest.fixture
def moments(request):
    """Random seconds, others each time; where a test fails, the seed is told."""
    seed = time.time_ns() % 10**9
    request.node.add_report_section("setup", "moments", f"the seed was {seed}")
    draw = random.Random(seed)
    return lambda: draw.uniform(0.05, LONGEST)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Small models are saved too, and a dead worker's trials are taken over soon."""
    monkeypatch.setenv("AUTOTUNE_LEASE", "1")
    monkeypatch.setattr(leases, "TURN", timedelta(seconds=4))
    monkeypatch.setattr(checkpoint, "quicker", lambda *_: True)
    monkeypatch.setattr(checkpoint, "SPARE_BYTES", 0.0)


@pytest.fixture(scope="session")
def spec(tmp_path_factory):
    path = tmp_path_factory.mktemp("task") / "mytask.py"
    path.write_text(TASK)
    return {
        "model": f"{path}:problem",
        "name": "net",
        "optimizers": ["adan", "adamw"],
        "budget": {"runs": RUNS},
        "steps": 27,
        "engine": "inline",
    }


@pytest.fixture(scope="session")
def finds(tmp_path_factory):
    """Return a function that returns what a search finds when nothing is done to it."""

    def finds(spec):
        with Store(str(tmp_path_factory.mktemp("whole") / "autotune.db")) as store:
            run(parse(spec), store=store)
            return found(store)

    return finds


@pytest.fixture(scope="session")
def undisturbed(spec, finds):
    """What the search finds when nothing is done to it."""
    return finds(spec)


@pytest.fixture(scope="session")
def asked():
    """A search as a script with a loop of its own begins it."""
    return {"optimizers": ["adan", "adamw"], "steps": 27, "runs": RUNS, "name": "net"}


@pytest.fixture(scope="session")
def undisturbed_script(asked, tmp_path_factory):
    """What that search finds when nothing is done to its script."""
    url = str(tmp_path_factory.mktemp("asked") / "autotune.db")
    own_loop(asked, url)
    with Store(url) as store:
        return found(store)


def found(store):
    """Return all trials by what defines them, with their curves, and what is recommended."""
    told = []
    for study in store.search("net").studies:
        curves = store.curves(study.id)
        for t in store.trials(study.id):
            curve = tuple((p.step, p.train_loss, p.loss) for p in curves[t.id])
            own = t.setting
            what = (study.optimizer, t.number, t.role, t.origin, str(own.hyper), own.warmup, t.seed)
            told.append((*what, t.state, t.step, t.loss, curve))
        told.append((study.optimizer, store.recommendation(study.id)["source"]))
    return told


@pytest.fixture(scope="session")
def read():
    """Return what reads a finished search, to compare it with one that a fault was done to."""
    return found


def losses(store):
    """Return what went missing, was counted twice, hangs, or was spent too much."""
    search = store.search("net")
    wrong = [] if search.state is SearchState.COMPLETE else [f"the search is {search.state}"]
    wrong += [f"{held} is held" for held in store.changes(search.id).held.values()]
    for study in search.studies:
        trials, curves = store.trials(study.id), store.curves(study.id)
        if [trial.number for trial in trials] != list(range(len(trials))):
            wrong.append(f"{study.optimizer} has gaps in its numbers")
        wrong += [f"trial {t.number} is {t.state}" for t in trials if t.state not in ENDED]
        wrong += [
            f"trial {t.number} has no loss of its last step"
            for t in trials
            if t.state is TrialState.COMPLETE and curves[t.id][-1].loss != t.loss
        ]
        again = Counter((t.source, t.seed) for t in trials if t.role is not Role.SEARCH)
        wrong += [f"{pair} ran {n} times" for pair, n in again.items() if n > 1]
        spent = sum(trial.step for trial in trials) / 27
        if spent > RUNS + 1e-9:
            wrong.append(f"{study.optimizer} spent {spent} of {RUNS} full runs")
        if store.recommendation(study.id)["source"] is None:
            wrong.append(f"{study.optimizer} recommends nothing")
    return wrong


@pytest.fixture
def count(request):
    """Count a round of a fault, and what was lost in it, for the table."""

    def add(fault, lost):
        request.node.user_properties.append((FAULT, (fault, int(lost))))

    return add


@pytest.fixture
def troubles():
    """Read what a search told of faults: that it is short is no fault."""

    def read(heard):
        said = [event.text for event in heard if isinstance(event, Notice)]
        return [line for line in said if not SCARCE.search(line)]

    return read


@pytest.fixture
def judge(count):
    """Check a search that a fault was done to, and count it for the table."""

    def check(fault, store, expected=None):
        wrong, same = losses(store), expected is None or found(store) == expected
        count(fault, len(wrong) + (not same))
        assert wrong == []
        assert same or found(store) == expected

    return check


@pytest.fixture
def server(postgres):
    """The URL of an empty PostgreSQL database."""
    clear(postgres)
    yield postgres
    clear(postgres)


class Restartable:
    """A PostgreSQL of its own, which can be stopped at once and started again."""

    def __init__(self, folder):
        self.folder = folder
        self.url = self._start()
        self.port = self.url.rpartition(":")[2].partition("/")[0]

    def _start(self, *port):
        command = [str(START), str(self.folder), *port]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def stop(self):
        """End the server without letting it finish anything."""
        pid = int((self.folder / "server/data/postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.02)

    def start(self):
        self._start(self.port)

    def clear(self):
        clear(self.url)


@pytest.fixture
def restartable(postgres, tmp_path, monkeypatch):
    """A server of this test alone, where a server's tests run at all and one can be started."""
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        pytest.skip("needs PostgreSQL's packages on this machine, to stop and start a server")
    monkeypatch.chdir(tmp_path)  # where a server's checkpoints lie
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o711)
    server = Restartable(folder)
    yield server
    server.stop()
    shutil.rmtree(folder)


def clear(url):
    Store(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def places(request, tmp_path):
    """Give the URL of a new, empty database each time it is called."""
    if request.param == "postgresql":
        url = request.getfixturevalue("server")
        os.chdir(tmp_path)  # where a server's checkpoints lie

        def make():
            clear(url)
            return url

        return make
    numbers = iter(range(10**6))

    def fresh():
        folder = Path(tmp_path / str(next(numbers)))
        folder.mkdir()
        return f"sqlite:///{folder}/autotune.db"

    return fresh
