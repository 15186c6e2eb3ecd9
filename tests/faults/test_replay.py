"""The same spec and seed with one worker: the same bytes, however often the command is killed."""

from __future__ import annotations

import json
import random
import time

import pytest

from autotune.search.coordinator import run
from autotune.studies.records import SearchState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.testing.victims import searching

KILLS = 4  # of one search, at most
LONGEST = 1.0  # seconds before each

# Losses fall beyond the range of lr, so that the search widens it on its way.
TASK = """
import time

import torch
from autotune import Problem


class Far(torch.nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.weights = torch.nn.Parameter(30 + torch.rand(8))


def problem(seed):
    def loss(model, batch):
        time.sleep(0.001)
        return ((model.weights - batch) ** 2).mean()

    draw = torch.Generator().manual_seed(seed)
    batches = list(torch.randn(8, 8, generator=draw))
    return Problem(model=Far(seed), train=batches, validation=[torch.zeros(8)], loss=loss)
"""
POLICIES = {
    "our own": {"budget": {"trials": 24}},
    "patience": {"budget": {"runs": 20, "patience": 7}},
    "tpe and asha": {"budget": {"trials": 12}, "sampler": "tpe", "pruner": "asha"},
    "a class of Optuna's and no pruning": {
        "budget": {"trials": 8},
        "sampler": "optuna:NSGAIISampler(population_size=4)",
        "pruner": "none",
    },
}
RARE = {"our own": {"widened"}, "patience": {"gave up"}}  # what has to be replayed with them


@pytest.fixture(params=list(POLICIES))
def policies(request, rounds):
    if request.param == "tpe and asha" and rounds == 1:
        pytest.skip("of the policies by name, one is enough for one round: make faults has both")
    return request.param


@pytest.fixture
def wanted(policies, tmp_path):
    """A search as its file would say it."""
    path = tmp_path / "far.py"
    path.write_text(TASK)
    return {
        "model": f"{path}:problem",
        "name": "far",
        "optimizers": ["adan", "adamw"],
        "steps": 27,
        "engine": "inline",
        "workers": 1,
        **POLICIES[policies],
    }


def listed(store):
    """Return everything that is stored of trials but ids, times and files, as bytes."""
    found = []
    for study in store.search("far").studies:
        curves = store.curves(study.id)
        for t in store.trials(study.id):
            curve = [[p.step, p.train_loss, p.loss, p.accuracy] for p in curves.get(t.id, ())]
            own = [dict(t.setting.params), dict(t.setting.hyper), t.setting.warmup]
            what = [t.number, t.role, t.origin, *own, t.seed]
            found.append([*what, t.source, t.state, t.step, t.loss, t.reason, curve])
        found.append([study.optimizer, dict(study.space), store.recommendation(study.id)])
    return json.dumps(found, indent=1).encode()


def happened(store):
    """Return which decisions of the rarer kind a search took."""
    studies = store.search("far").studies
    widened = any(len(study.space["lr"]) > 3 for study in studies)
    gave_up = any("ended" in store.recommendation(study.id) for study in studies)
    return {name for name, did in (("widened", widened), ("gave up", gave_up)) if did}


def test_a_search_killed_at_any_moments_stores_the_same_bytes(
    wanted, policies, tmp_path, rounds, count
):
    with Store(str(tmp_path / "whole.db")) as store:
        run(parse(wanted), store=store)
        whole = listed(store)
        assert happened(store) >= RARE.get(policies, set())
    seed = time.time_ns() % 10**9
    draw = random.Random(seed)
    for number in range(rounds):
        url, kills = str(tmp_path / f"{number}.db"), 0
        while kills < KILLS:
            process = searching(wanted, url)
            process.join(draw.uniform(0.02, LONGEST))
            if process.exitcode is not None:
                break
            process.kill()
            process.join(10)
            kills += 1
        with Store(url) as store:
            run(parse(wanted), store=store)
            assert store.search("far").state is SearchState.COMPLETE
            assert kills > 0
            same = listed(store) == whole
            count(f"kills and replay, {policies}", not same)
            assert same, f"after {kills} kills with the seed {seed}"
