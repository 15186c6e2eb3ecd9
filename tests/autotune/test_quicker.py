"""A small network trains where it is quicker: a GPU and its timings are pretended."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from autotune import devices
from autotune.devices import CPU, Device
from autotune.drivers.nvml import Card
from autotune.scheduler.fitting import Cost
from autotune.search import quicker as module
from autotune.search.device import device_of
from autotune.search.opening import beginning, open_search, prepare
from autotune.search.quicker import LOOK, PATIENCE, quicker
from autotune.search.timing import Timed
from autotune.studies.spec import parse
from autotune.studies.store import Store

CARD = Card(name="G", capability=(9, 0), driver="1.2", memory=(3, 4))
GPU, SLOTS = "cuda", {"cpu": 2, "cuda": 1}


@pytest.fixture
def steps(monkeypatch):
    """Return what a step takes by device, which a test fills; None: none ended."""
    found = {}

    def timed(spec, facts, spaces, engine, halt, *, look, limit):
        assert (look, limit) == (LOOK, PATIENCE)
        kind = facts.get("device", "cpu")
        costs = {name: Cost(step=found[kind]) for name in spec.optimizers if found[kind]}
        return Timed(costs=costs, slots=SLOTS[kind], seconds=3.0)

    monkeypatch.setattr(devices, "gpus", lambda visible: (CARD,))
    monkeypatch.setattr(module, "timed", timed)
    monkeypatch.setattr(
        module.from_spec, "start", lambda spec, facts: SimpleNamespace(close=lambda: None)
    )
    return found


def asked(**changes):
    spec = parse({"model": "mlp", "optimizers": ["adamw"], **changes})
    return beginning(spec, prepare(spec))


def chosen(search):
    told = []
    found = quicker(search, lambda event: told.append(event.text), threading.Event())
    return found, told


def test_auto_takes_the_cpu_where_two_workers_are_quicker_there(steps):
    steps |= {"cpu": 0.001, GPU: 0.0009}
    search = asked()
    assert search.facts["device"] == GPU
    found, told = chosen(search)
    assert "device" not in found.asked.facts
    assert (found.asked.spec.device, found.seconds) == ("cpu", 6.0)
    assert told == [
        "timing steps on cuda and on the CPU",
        "auto takes the CPU (cuda: 0.37 s a full run, 1 at once; CPU: 0.39 s a full run, 2 at "
        "once); --device cuda takes the other",
    ]


@pytest.mark.parametrize(
    ("cpu", "said"), [(0.01, "2.6 s a full run, 2 at once"), (None, "no step")]
)
def test_auto_takes_the_gpu_where_the_cpu_is_slower_or_ends_no_step(steps, cpu, said):
    steps |= {"cpu": cpu, GPU: 0.0009}
    search = asked()
    found, told = chosen(search)
    assert found.asked is search
    assert told[-1].startswith("auto takes cuda (")
    assert said in told[-1]
    assert told[-1].endswith("; --device cpu takes the other")


def test_a_search_goes_on_where_it_was_quicker(steps, tmp_path):
    steps |= {"cpu": 0.001, GPU: 1.0}
    with Store(f"sqlite:///{tmp_path}/autotune.db") as store:
        found, _ = chosen(asked())
        opened = open_search(found.asked, store)
        assert device_of(parse({"model": "mlp"}), opened.search) == CPU
        assert device_of(parse({"model": "mlp"}), None) == Device(GPU)


@pytest.mark.parametrize(
    "changes",
    [
        {"device": GPU},
        {"device": "cpu"},
        {"engine": "inline"},
        {"per_gpu": 2},
        {"precision": "fp16"},
    ],
    ids=str,
)
def test_what_was_said_is_not_asked_again(steps, changes):
    search = asked(**changes)
    found, told = chosen(search)
    assert (found.asked, found.seconds, told) == (search, 0.0, [])


def test_a_large_network_is_left_to_the_gpu(steps, monkeypatch):
    monkeypatch.setattr(module, "SMALL", 100)
    search = asked()
    assert chosen(search)[0].asked is search
