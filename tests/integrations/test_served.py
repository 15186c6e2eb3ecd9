"""The loops of the examples, tuned through a service of its own process."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from autotune.client import Client
from autotune.client.worker import work
from autotune.search import opening
from autotune.search.worker import Terms
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.testing.victims import kill, served

EXAMPLES = Path(__file__).parents[2] / "examples"
SLOW = pytest.mark.skipif(not os.environ.get("INTEGRATIONS"), reason="make integrations runs it")


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    return f"sqlite:///{tmp_path}/autotune.db"


@pytest.fixture
def server(url, tmp_path):
    """The address of a server."""
    process, port = served(url, tmp_path / "log")
    yield f"http://127.0.0.1:{port}"
    kill(process)


def ran(*words):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def judged(url, name, steps):
    """Check that a search is over, and that each of its trials holds what it had to measure."""
    with Store(url, read_only=True) as store:
        found = store.search(name)
        assert found.state == "complete"
        for study in found.studies:
            assert store.recommendation(study.id)["source"] is not None
            trials = store.trials(study.id)
            assert {t.state for t in trials} <= {"complete", "stopped"}
            assert {t.step for t in trials if t.role == "judge"} == {steps}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:.*num_workers", "ignore:.*set_vital")
@pytest.mark.parametrize(
    ("name", "needs"), [("hf_trainer", "accelerate"), ("lightning_module", "lightning")]
)
def test_a_trainer_is_tuned_through_the_service(name, needs, server, url):
    if find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    module, body = importlib.import_module(name), {"optimizers": ["adan"], "budget": {"trials": 2}}
    body |= {"task": {"external": {"model": "digits", "steps": 9}}, "seeds": 2}
    with tempfile.TemporaryDirectory() as folder, Client(server) as client:
        client.begin(name, body)
        for trial in client.trials(name):
            module.train(trial, *([folder] if name == "hf_trainer" else []))
    judged(url, name, 9)


@SLOW
@pytest.mark.parametrize("launcher", [[], ["-m", "torch.distributed.run", "--nproc-per-node", "2"]])
def test_a_script_is_tuned_through_the_service(launcher, server, url):
    script = EXAMPLES / "served.py"
    assert "adan" in ran(*launcher, script, server)
    judged(url, "served", 27)


@SLOW
def test_a_command_is_trained_by_a_worker_of_the_service(server, url):
    names = ["{lr}", "{betas}", "{weight_decay}", "{warmup_steps}", "{steps}", "{seed}"]
    words = ["bash", f"{EXAMPLES}/train.sh", *names]
    spec = parse(
        {
            "command": words, "name": "command", "optimizers": ["adamw"], "steps": 9, "seeds": 2,
            "budget": {"trials": 2}, "workers": 1,
        }
    )  # fmt: skip
    with Store(url) as store:
        opening.open_search(opening.beginning(spec, opening.prepare(spec)), store)
    ran("-m", "autotune", "worker", "--search", "command", "--server", server)
    judged(url, "command", 9)


GENERATOR = """
import torch


def train(optimizer, seed, steps):
    torch.manual_seed(seed)
    model = torch.nn.Linear(4, 1)
    (opt, schedule), inputs = optimizer(model), torch.randn(32, 4)
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]])
    for step in range(1, steps + 1):
        opt.zero_grad()
        loss = torch.nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        opt.step()
        schedule.step()
        yield step, loss.item()
"""


@SLOW
def test_a_worker_of_two_places_trains_the_generator_of_a_file(server, url, tmp_path):
    (tmp_path / "gen.py").write_text(GENERATOR)
    given = {"model": "gen.py:train", "name": "net", "optimizers": ["adamw"], "steps": 9}
    spec = parse({**given, "budget": {"trials": 3}, "seeds": 2})
    with Store(url) as store:
        opening.open_search(opening.beginning(spec, opening.prepare(spec)), store)
    assert work("net", server=server, terms=Terms(name="w", engine="processes", workers=2))
    with Store(url, read_only=True) as store:
        trials, held = store.trials(1), store.attempts(1)
    assert {one.worker for one in held} == {"w.0", "w.1"}
    assert {trial.state for trial in trials} <= {"complete", "stopped"}
    assert sum(trial.role == "judge" for trial in trials) in {2, 4}
