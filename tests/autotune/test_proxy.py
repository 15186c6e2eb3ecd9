"""A search under minutes times its task first, and shortens what they cannot pay."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import replace

import pytest
from click.testing import CliRunner

from autotune.cli import main
from autotune.engines.inline import Inline
from autotune.errors import NothingUsable
from autotune.scheduler.fitting import Cost
from autotune.search import proxy, timing
from autotune.search.coordinator import run
from autotune.search.events import Notice, SearchStarted
from autotune.search.opening import SHORTENED, beginning, changed_since, checked, prepare
from autotune.search.proxy import _smaller
from autotune.search.timing import Timed
from autotune.studies.records import SearchState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.tasks.base import Shortest

SLOW = """

def slow(seed):
    made = problem(seed)

    def loss(model, batch):
        time.sleep(0.1)
        return made.loss(model, batch)

    return Problem(model=made.model, train=made.train, validation=made.validation, loss=loss)
"""


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    monkeypatch.setattr(timing, "LOOK", 0.2)


@pytest.fixture
def file(task_file):
    task_file.write_text(task_file.read_text() + SLOW)
    return task_file


@pytest.fixture
def store(tmp_path):
    with Store(f"sqlite:///{tmp_path}/autotune.db") as opened:
        yield opened


def spec(file, function="slow", minutes=3, **changes):
    return parse(
        {
            "model": f"{file}:{function}",
            "optimizers": ["adan"],
            "budget": {"minutes": minutes},
            "engine": "inline",
            **changes,
        }
    )


def begun(asked, store):
    """Begin a search, stop it at once, and return what was said before that."""
    heard, halt = [], threading.Event()

    def listen(event):
        heard.append(event)
        if isinstance(event, SearchStarted):
            halt.set()

    run(asked, store=store, listen=listen, halt=halt)
    started = next(place for place, event in enumerate(heard) if isinstance(event, SearchStarted))
    return [event.text for event in heard[:started] if isinstance(event, Notice)]


def test_runs_that_minutes_cannot_pay_become_shorter_and_one_line_says_why(file, store):
    first, why = begun(spec(file, optimizers=["ademamix"]), store)
    search = store.search("slow")
    steps = search.task["steps"]
    [study] = search.studies
    assert study.space["one_minus_beta3"][1] == pytest.approx(1 - 0.5 ** (3 / steps))
    assert 27 < steps < 243
    assert first == "timing steps, 1 trial"
    assert why.startswith(
        f"steps 243 -> {steps}, so that 3 minutes on 1 worker can pay for at least 8 settings "
        "of each optimizer and for judging on 3 seeds at 0.1"
    )
    assert why.endswith(" s a step; --steps fixes it")
    assert search.task[SHORTENED] == {"steps": 243}
    assert search.spec["steps"] == steps
    assert search.seconds > 0.2  # timing is a part of the minutes


def test_the_same_command_goes_on_with_the_runs_that_it_began_with(file, store):
    begun(spec(file), store)
    steps = store.search("slow").task["steps"]
    again = [spec(file), spec(file, minutes=600), spec(file, steps=steps)]
    assert [begun(asked, store) for asked in again] == [[], [], []]
    search = store.search("slow")
    assert (search.spec["steps"], search.task["steps"]) == (steps, steps)
    assert checked(parse(dict(search.spec)), store).facts["steps"] == steps  # as a worker does
    assert changed_since(spec(file, steps=243), search, search.task) == ["steps"]


@pytest.mark.parametrize(
    ("budget", "more"), [({"minutes": 3}, {"steps": 243}), ({"trials": 3}, {})]
)
def test_steps_that_are_given_and_budgets_without_minutes_time_nothing(file, store, budget, more):
    assert begun(spec(file, budget=budget, **more), store) == []
    task = store.search("slow").task
    assert (task["steps"], SHORTENED in task) == (243, False)


def test_ample_minutes_leave_a_task_as_long_as_it_is(file, store):
    assert begun(spec(file, minutes=600), store) == ["timing steps, 1 trial"]
    search = store.search("slow")
    assert (search.spec["steps"], search.task["steps"], SHORTENED in search.task) == (
        None,
        243,
        False,
    )


def test_minutes_that_cannot_pay_for_the_shortest_runs_are_told_before_anything_runs(file, store):
    _, told = begun(spec(file, minutes=0.1), store)
    assert told.startswith(
        "0.1 minutes on 1 worker cannot pay for at least 8 settings of each optimizer and for "
        "judging on 3 seeds, not even in runs of 27 steps (steps 243 -> 27) at 0.1"
    )
    assert told.endswith(
        " minutes would. The search continues with what fits. For all of that: Ctrl-C, then rerun "
        f"with --minutes {told.rpartition(' ')[2]}"
    )
    assert 1 < int(told.rpartition(" ")[2]) < 9


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("raising", "RuntimeError: the user's own mistake (mytask.py:"),
        ("nan", "training loss became nan at step 1"),
    ],
)
def test_a_task_whose_steps_go_wrong_is_searched_as_it_is(file, store, function, why):
    heard = []
    with pytest.raises(NothingUsable):
        run(spec(file, function, minutes=0.02), store=store, listen=heard.append)
    said = [event.text for event in heard if isinstance(event, Notice)]
    assert said[1].startswith(f"no step was timed: {why}")
    assert store.search(function).task["steps"] == 243


def test_an_interrupt_while_steps_are_timed_stores_nothing(file, store):
    halt = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        run(spec(file), store=store, listen=lambda event: halt.set(), halt=halt)
    assert store.searches() == []
    assert len(begun(spec(file), store)) == 2


def test_a_search_without_a_loss_that_begins_anew_is_timed_anew(file, store):
    begun(spec(file), store)
    text = file.read_text()
    file.write_text(text.replace("sleep(0.1)", "sleep(0.0)"))
    news, *said = begun(spec(file), store)
    assert news.startswith("search 'slow' had no loss yet and began with another content of")
    assert said[0] == "timing steps, 1 trial"
    assert SHORTENED not in store.search("slow").task


@pytest.mark.usefixtures("workers_at_once")
def test_a_first_step_that_never_ends_leaves_the_shortest_runs(file, store, monkeypatch):
    for name in ("SHORTEST", "LONGEST", "LEAVING"):
        monkeypatch.setattr(timing, name, 1.0)
    monkeypatch.setattr("autotune.search.coordinator.STEP_TIMEOUT", 0.1)
    heard = []
    asked = spec(file, "hanging", minutes=0.05, engine="processes", workers=1)
    with suppress(NothingUsable):
        run(asked, store=store, listen=heard.append)
    assert [event.text for event in heard if isinstance(event, Notice)][1] == (
        "no step ended within 1 s, so the search begins with the shortest runs of its task "
        "(steps 243 -> 27)"
    )
    assert store.search("hanging").state is SearchState.COMPLETE


def test_a_smaller_batch_comes_after_fewer_steps_then_smaller_images_and_a_given_one_stays():
    def smaller(**given):
        asked = parse({"model": "mlp", "budget": {"minutes": 1}, **given})
        shortest = Shortest(steps=9, batch_size=8, image_size=10)
        found = replace(beginning(asked, prepare(asked)), shortest=shortest)
        return [(one.batch_size, one.image_size) for one in _smaller(found)]

    assert smaller() == [(8, None), (8, 10)]
    assert smaller(batch_size=16) == [(16, 10)]
    assert smaller(image_size=12) == [(8, 12)]
    assert smaller(image_size=8, batch_size=4) == smaller(steps=27) == []


@pytest.fixture
def pixels(monkeypatch):
    """Let a step take as long as an image has pixels, in centiseconds."""

    def timed(spec, facts, spaces, engine, halt):
        step = facts["image_size"] ** 2 / 100
        return Timed(costs=dict.fromkeys(spec.optimizers, Cost(step=step)), slots=1, seconds=1.0)

    monkeypatch.setattr(proxy, "timed", timed)


def small(minutes, **changes):
    given = {"model": "vit-mini", "optimizers": ["adan"], "engine": "inline"}
    return parse({**given, "budget": {"minutes": minutes}, **changes})


def test_images_become_smaller_where_the_fewest_steps_do_not_suffice(pixels, store):
    begun(small(60, name="own"), store)
    assert store.search("own").task["image_size"] == 16
    _, why = begun(small(25), store)
    search = store.search("vit-mini")
    task = search.task
    assert (task["image_size"], search.spec["image_size"]) == (12, 12)
    assert task[SHORTENED] == {"steps": 324, "image_size": 16}
    assert why.startswith(f"steps 324 -> {task['steps']}, image size 16 -> 12, so that 25 minutes")
    assert why.endswith(" a step; --steps and --image-size fix them")
    assert begun(small(90), store) == []  # it goes on as it was begun
    assert store.search("vit-mini").task["image_size"] == 12
    assert changed_since(small(25, image_size=16), search, task)[0] == "image_size"


def test_images_of_a_given_size_stay(pixels, store):
    _, told = begun(small(25, image_size=16), store)
    assert told.startswith("25 minutes on 1 worker cannot pay for at least 8 settings")
    assert store.search("vit-mini").task["image_size"] == 16


def test_what_was_timed_is_shown_by_a_dry_run_and_nothing_is_stored(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["search", "--model", f"{file}:slow", "--optimizer", "adan", "--engine", "inline"]
    said = CliRunner().invoke(main, [*command, "--minutes", "3", "--dry-run", "--json"])
    planned = json.loads(said.stdout)["plan"]
    timed = planned["schedule"]
    assert timed["workers"] == 1
    assert timed["step"]["adan"] > 0.1
    assert timed["full_run"]["adan"] > planned["task"]["steps"] * 0.1
    assert sum(timed["seconds"].values()) == pytest.approx(180 - 3)
    assert planned["told"].startswith(f"steps 243 -> {planned['task']['steps']}, so that")
    assert not (tmp_path / "autotune.db").exists()


def test_timing_leaves_nothing_of_itself_in_an_engine(file, store):
    asked = spec(file, minutes=60)
    found, engine = checked(asked, store), Inline()
    timed = timing.timed(asked, found.facts, found.spaces, engine, threading.Event())
    assert timed.costs["adan"].step > 0.1
    assert engine.reports(0.0) == []
    engine.close()
