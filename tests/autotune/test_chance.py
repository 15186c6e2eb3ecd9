"""Chance outside the seeded call: at import, in a set's order, from the system."""

import os
import subprocess
import sys
import threading
from collections import namedtuple

import numpy as np
import pytest
import torch

from autotune.engines.processes import Processes
from autotune.search.coordinator import run
from autotune.search.events import Notice, TrialEnded
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.tasks.function import Function
from autotune.tasks.likeness import likeness
from autotune.testing.trials import nested
from autotune.training.job import Job, Outcome

DRAWING = """
import random

import numpy as np
import torch

drawn = (torch.randperm(1000).tolist(), np.random.rand(3).tolist(), random.random())


def told():
    return drawn
"""

DATA = """
import os

import numpy as np
import torch
from autotune import Problem

fixed = np.random.default_rng(7)
ONCE = fixed.normal(size=(16, 4))


def problem(seed, draw):
    data = torch.tensor(draw, dtype=torch.float32)
    return Problem(
        model=torch.nn.Linear(4, 1),
        train=list(data.split(4))[:3],
        validation=list(data.split(4))[3:],
        loss=lambda model, batch: (model(batch) - batch.sum(1, keepdim=True)).square().mean(),
    )


def steady(seed):
    return problem(seed, ONCE)


def unseeded(seed):
    return problem(seed, np.random.default_rng().normal(size=(16, 4)))


def listed(seed):  # as a folder's order differs from machine to machine
    return problem(seed, np.roll(ONCE, int(os.environ["ORDER"]), 0))


def flat(seed):
    \"\"\"A first loss that tells nothing of the batch.\"\"\"
    made = problem(seed, np.random.default_rng().normal(size=(16, 4)))
    torch.nn.init.zeros_(made.model.weight)
    return Problem(
        model=made.model, train=made.train, validation=made.validation,
        loss=lambda model, batch: model(batch).tanh().mean() * model.bias.mean(),
    )


def hashed(seed):
    raise RuntimeError(f"hash {hash('text')}")
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "data.py"
    path.write_text(DATA)
    return path


def search(file, function, url, *, halt_after=None):
    """Search in this process; return the notices about trials that did not begin alike."""
    halt, heard = threading.Event(), []

    def listen(event):
        if isinstance(event, Notice):
            heard.append(event.text)
        if halt_after and isinstance(event, TrialEnded):
            halt.set()

    spec = parse(
        {
            "model": f"{file}:{function}", "optimizers": ["adamw"], "budget": {"trials": 3},
            "steps": 9, "engine": "inline",
        }
    )  # fmt: skip
    with Store(url) as store:
        run(spec, store=store, listen=listen, halt=halt)
    return [text for text in heard if "same seed" in text]


def test_what_a_file_draws_when_it_is_imported_is_the_same_everywhere(tmp_path):
    found = []
    for process in range(2):
        path = tmp_path / f"file{process}.py"
        path.write_text(DRAWING)
        torch.manual_seed(process)
        np.random.seed(process)
        state = torch.get_rng_state()
        found.append(Function(f"{path}:told")(seed=1))
        assert torch.equal(torch.get_rng_state(), state)
    assert found[0] == found[1]


def test_every_worker_has_the_same_order_of_sets(file):
    task = {"model": f"{file}:hashed", "data": None, "steps": 9, "batch_size": None}
    fields = {
        "trial": 1, "attempt": 1, "task": task, "optimizer": "adamw", "hyper": {}, "warmup": 0.1,
        "seed": 3, "start": 0, "stop": 9, "target": 9, "evaluate": (9,),
    }  # fmt: skip
    engine = Processes(workers=1)
    try:
        engine.submit(Job(**nested(**fields)))
        reports = []
        while not reports:
            reports = engine.reports(60.0)
    finally:
        engine.close()
    asked = subprocess.run(
        [sys.executable, "-c", "print(hash('text'))"],
        env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert reports[0].outcome is Outcome.FAILED
    assert f"hash {asked.stdout.strip()}" in reports[0].reason


def test_trials_that_begin_alike_are_not_told_of(file, tmp_path):
    assert search(file, "steady", f"sqlite:///{tmp_path}/a.db") == []


@pytest.mark.parametrize("function", ["unseeded", "flat"])
def test_trials_of_one_seed_with_other_batches_are_told_of_once(
    file, tmp_path, function, monkeypatch
):
    # As in another worker, which has kept none of the batches that this one has read.
    monkeypatch.setattr("autotune.tasks.kept.Kept.of", lambda kept, what, read: read())
    (told,) = search(file, function, f"sqlite:///{tmp_path}/a.db")
    assert told.startswith(
        "adamw trial 0 and adamw trial 1 have the same seed but began with different first batches:"
    )


def test_another_machines_order_is_told_of_where_it_goes_on(file, tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/a.db"
    monkeypatch.setenv("ORDER", "1")
    assert search(file, "listed", url, halt_after=1) == []
    monkeypatch.setenv("ORDER", "-1")
    (told,) = search(file, "listed", url)
    assert "adamw trial 0 and adamw trial 1 have the same seed but" in told


Pair = namedtuple("Pair", "x y")


def test_batches_are_recognised_however_they_are_nested():
    x, y = torch.randn(8, 3), torch.arange(8)
    shapes = [(x, y), [x, [y]], {"x": x, "more": {"y": y}}, Pair(x, y), (x.numpy(), y.numpy())]
    assert len({round(likeness(each), 9) for each in shapes}) == 1
    assert abs(likeness((x, y)) - likeness((x, y.flip(0)))) > 1e-3
    assert abs(likeness((x * (1 + 1e-6), y)) - likeness((x, y))) < 1e-4


@pytest.mark.parametrize("batch", [None, object(), (), torch.zeros(3), torch.full((2,), torch.nan)])
def test_a_batch_without_numbers_is_like_any_other(batch):
    assert likeness(batch) == 0.0
