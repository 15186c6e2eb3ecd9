"""SIGKILL of searches over a generator: what is lost is taken again, or goes on from a file."""

from __future__ import annotations

from functools import cache
from itertools import count

import pytest

from autotune.search.coordinator import run
from autotune.search.worker import Terms, work
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.testing.victims import begun, kill, searching, working

TASK = """
import time

import torch


def train(optimizer, seed, steps{start}):
    data = torch.randn(96, 4, generator=torch.Generator().manual_seed(0))
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))
    opt, schedule = optimizer(model)
    for step in range({first}, steps + 1):
        time.sleep(0.001)
        batch = data[torch.randint(0, 64, (8,))]
        (model(batch) - batch.sum(1, keepdim=True)).square().mean().backward()
        opt.step()
        schedule.step()
        opt.zero_grad()
        if step % 5 == 0 or step == steps:
            model.eval()
            with torch.no_grad():
                yield step, (model(data[64:]) - data[64:].sum(1, keepdim=True)).square().mean()
            model.train()
"""
KINDS = {"repeated": ("", "1"), "resumed": (", start", "start + 1")}


@pytest.fixture(scope="module")
def asked(tmp_path_factory, spec, finds):
    """Return a function: the spec of a search over a kind of generator, and what it finds."""

    @cache
    def asked(kind):
        start, first = KINDS[kind]
        folder = tmp_path_factory.mktemp(kind)
        (folder / "mine.py").write_text(TASK.format(start=start, first=first))
        asked = {**spec, "model": f"{folder}/mine.py:train"}
        return asked, finds(asked)

    return asked


@pytest.fixture
def places(tmp_path):
    """Give the URL of a new database each time; a server's are faced by the other tasks."""
    numbers = count()

    def fresh():
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return f"sqlite:///{folder}/autotune.db"

    return fresh


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_search_over_a_generator_ends_as_if_undisturbed(
    places, asked, judge, rounds, moments, kind
):
    spec, undisturbed = asked(kind)
    for _ in range(rounds):
        url = places()
        for _ in range(2):
            process = searching(spec, url)
            process.join(moments())
            kill(process)
        with Store(url) as store:
            run(parse(spec), store=store)
            judge("SIGKILL of a search over a generator", store, undisturbed)


def test_a_killed_worker_of_a_generator_is_taken_over(
    places, asked, judge, rounds, moments, tmp_path
):
    spec, undisturbed = asked("resumed")
    for _ in range(rounds):
        url = places()
        command = searching(spec, url)
        begun("net", url)
        command.join(moments() / 2)
        kill(command)
        process = working("net", url, "w1", tmp_path / "w1")
        process.join(moments())
        kill(process)
        with Store(url) as store:
            work("net", store=store, terms=Terms(engine="inline", name="w2"))
            judge("SIGKILL of a worker over a generator", store, undisturbed)
