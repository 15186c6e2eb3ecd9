"""One worker runs a search where several take no more steps a second: timings are pretended."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from autotune.scheduler.fitting import Cost
from autotune.search import alone as module
from autotune.search.alone import crew
from autotune.search.opening import beginning, prepare
from autotune.search.timing import Timed
from autotune.studies.spec import parse

OPTIMIZERS = ("adamw", "adan")


@pytest.fixture(scope="module")
def search():
    spec = parse({"model": "mlp", "optimizers": OPTIMIZERS, "budget": {"minutes": 3}})
    return beginning(spec, prepare(spec))


@pytest.fixture
def steps(monkeypatch):
    """Return what a step takes alone, which a test fills; None: none ended."""
    found = []

    def timed(spec, facts, spaces, engine, halt, *, look, limit, slots):
        assert slots == 1
        [step] = found
        costs = dict.fromkeys(spec.optimizers, Cost(step=step)) if step else {}
        return Timed(costs=costs, slots=1, seconds=2.0)

    monkeypatch.setattr(module, "timed", timed)
    return found


class Engine(SimpleNamespace):
    slots = 2

    def narrow(self, slots):
        self.slots = slots


def chosen(search, engine, *, step=0.1):
    costs = {"adamw": Cost(step=step, evaluation=0.4, setup=0.2), "adan": Cost(step=2 * step)}
    told, beside = [], Timed(costs=costs, slots=2, seconds=4.0)
    found = crew(search, beside, engine, lambda event: told.append(event.text), threading.Event())
    return found, told


def test_one_worker_is_taken_where_two_are_no_quicker_and_one_line_says_so(search, steps):
    steps.append(0.05)  # half of what it takes beside another
    engine = Engine()
    found, told = chosen(search, engine)
    assert told == [
        "1 worker takes 20 steps a second, 2 side by side take 20, so trials run one after "
        "another; --workers 2 fixes it"
    ]
    assert (engine.slots, found.timed.slots, found.asked.spec.workers) == (1, 1, 1)
    assert found.timed.costs == {
        "adamw": Cost(step=0.05, evaluation=0.2, setup=0.1),
        "adan": Cost(step=0.1),
    }
    assert (found.timed.seconds, found.gain) == (6.0, pytest.approx(1.0))


@pytest.mark.parametrize("alone", [0.09, None])
def test_two_workers_stay_where_they_are_quicker_or_nothing_was_timed_alone(search, steps, alone):
    steps.append(alone)
    engine = Engine()
    found, told = chosen(search, engine)
    assert (engine.slots, found.timed.slots, told) == (2, 2, [])
    assert found.asked is search
    assert found.timed.seconds == 6.0
    assert found.gain == (alone and pytest.approx(1.8))


def test_nothing_is_timed_alone_where_there_is_no_choice_or_steps_are_slow(search, steps):
    given = parse({"model": "mlp", "optimizers": OPTIMIZERS, "workers": 2})
    gpu = replace(search, facts={**search.facts, "device": "cuda"})
    cases = [
        (replace(search, spec=given), Engine(), 0.1),
        (gpu, Engine(), 0.1),
        (search, SimpleNamespace(slots=2), 0.1),
        (search, Engine(), 2.0),
    ]
    for asked, engine, step in cases:
        found, told = chosen(asked, engine, step=step)
        assert (found.asked, found.timed.seconds, found.gain, told) == (asked, 4.0, None, [])
