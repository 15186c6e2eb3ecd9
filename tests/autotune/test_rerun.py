"""Stored trials run again alone: to the same curve, or with a sentence on what is different."""

from __future__ import annotations

import json
import re
import sqlite3
import threading

import numpy as np
import pytest
from click.testing import CliRunner

from autotune.bench.search import ours
from autotune.bench.search.grid import ground
from autotune.bench.search.play import Arena
from autotune.bench.search.table import Table
from autotune.cli import main
from autotune.errors import NothingUsable, SpecError
from autotune.search.coordinator import run
from autotune.search.events import TrialEnded
from autotune.search.rerun import rerun, whole
from autotune.studies.records import TrialState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.training import checkpoint


def spec(task_file, function="problem", **changes):
    return parse(
        {
            "model": f"{task_file}:{function}",
            "optimizers": ["adan"],
            "budget": {"trials": 6},
            "steps": 27,
            "engine": "inline",
            **changes,
        }
    )


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/autotune.db"


def again(store, name="problem"):
    """Run every trial of a search again."""
    search = store.search(name)
    (study,) = search.studies
    return [
        rerun(search, trial, curve, whole(search, study.optimizer, trial, curve))
        for trial in store.trials(study.id)
        for curve in [store.curve(trial.id)]
    ]


@pytest.fixture(scope="module")
def done(tmp_path_factory, task_text):
    """The folder of a search that is over."""
    folder = tmp_path_factory.mktemp("done")
    (folder / "mytask.py").write_text(task_text)
    with Store(f"sqlite:///{folder}/autotune.db") as store:
        run(spec(folder / "mytask.py"), store=store)
    return folder


@pytest.fixture
def finished(done, tmp_path, url):
    """The URL of a copy of it, which a test may change."""
    with (
        sqlite3.connect(done / "autotune.db") as old,
        sqlite3.connect(tmp_path / "autotune.db") as new,
    ):
        old.backup(new)
    return url


def show(url, *args):
    return CliRunner().invoke(main, ["show", *args, "--storage", url])


def dump(tmp_path):
    with sqlite3.connect(tmp_path / "autotune.db") as connection:
        return list(connection.iterdump())


@pytest.mark.usefixtures("workers_at_once")
def test_every_trial_of_a_search_in_several_processes_gives_the_same_curve_alone(task_file, url):
    with Store(url) as store:
        run(spec(task_file, engine="processes", workers=2, budget={"trials": 3}), store=store)
        found = again(store)
    assert all(one.equal and one.largest is None and one.compared > 2 for one in found)


def test_a_trial_that_was_interrupted_and_went_on_gives_the_same_curve(task_file, url, monkeypatch):
    monkeypatch.setattr(checkpoint, "worth_keeping", lambda *_: True)
    halt, ended = threading.Event(), []

    def listen(event):
        if isinstance(event, TrialEnded):
            ended.append(event)
            halt.set()

    with Store(url) as store:
        for _ in range(3):
            halt.clear()
            run(spec(task_file), store=store, listen=listen, halt=halt)
        run(spec(task_file), store=store)
        assert all(one.equal for one in again(store))


def test_a_diverged_trial_diverges_again(task_file, url):
    with Store(url) as store:
        store_nothing_usable(spec(task_file, "nan", name="problem"), store)
        found = again(store)
    assert all(one.equal for one in found)
    assert {one.reason for one in found} == {"training loss became nan at step 1"}


def store_nothing_usable(wanted, store):
    with pytest.raises(NothingUsable):
        run(wanted, store=store)


def test_the_command_shows_both_curves_and_writes_nothing(finished, tmp_path):
    before = dump(tmp_path)
    result = show(finished, "problem/adan", "3", "--rerun")
    assert result.exit_code == 0
    header, *rows = result.stdout.splitlines()
    assert header.split("  ")[0] == "step"
    assert all(re.fullmatch(r"\d+ +(\S+) +\1 +(\S+) +\2", row) for row in rows[: rows.index("")])
    assert re.fullmatch(r"equal bit for bit at \d+ points", rows[-1])
    assert result.stderr == "training trial 3 again, 3 steps\n"
    assert dump(tmp_path) == before


def test_the_document_has_both_curves(finished):
    told = json.loads(show(finished, "problem/adan", "3", "--rerun", "--json").stdout)
    assert told["rerun"]["equal"] is True
    assert told["rerun"]["largest"] is None
    losses = [
        [point["loss"] for point in points] for points in (told["curve"], told["rerun"]["points"])
    ]
    assert losses[0] == losses[1]


def test_a_curve_that_differs_says_by_how_much_and_where(finished, tmp_path):
    with sqlite3.connect(tmp_path / "autotune.db") as connection:
        connection.execute("UPDATE autotune_points SET loss = loss + 0.25 WHERE step = 3")
    result = show(finished, "problem/adan", "3", "--rerun")
    assert result.exit_code == 0
    assert re.fullmatch(
        r"not equal: of \d+ points the largest difference is 0.25, "
        r"in the validation loss at step 3",
        result.stdout.splitlines()[-1],
    )


def test_versions_that_are_others_now_are_named(finished, tmp_path):
    with sqlite3.connect(tmp_path / "autotune.db") as connection:
        facts = "UPDATE autotune_environments SET facts = json_set(facts, '$.python', '3.9.1')"
        connection.execute(facts)
    said = show(finished, "problem/adan", "3", "--rerun").stdout.splitlines()[-1]
    assert said.startswith("the search was begun with python 3.9.1, here is ")


def test_a_trial_of_another_model_file_is_refused(task_file, url):
    with Store(url) as store:
        run(spec(task_file), store=store)
    task_file.write_text(task_file.read_text().replace("randn(96, 4", "rand(96, 4"))
    result = show(url, "problem/adan", "3", "--rerun")
    assert (result.exit_code, result.stderr) == (
        2,
        "error: trial 3 of problem/adan cannot be run again: another content of its data or model "
        "file than it was trained with\n",
    )


def test_a_trial_that_was_read_from_a_table_is_refused(tmp_path, url):
    axes = {"lr": (1e-3, 1e-2, 1e-1)}
    losses = [[[2.0 - n, 1.0 - n / 4] for n in range(3)]] * 4
    table = Table(name="small", axes=axes, rungs=(3, 9), losses=np.array(losses))
    arena = Arena(ground=ground(table), runs=13.0, workers=1, seed=0)
    with Store(url) as store:
        ours.replay(arena, store, tmp_path)
    result = show(url, "bench", "1", "--rerun")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == (
        "error: trial 1 of bench/adamw was read from the table 'small', not trained: "
        "there is nothing to run again"
    )


def test_a_trial_without_a_step_is_refused(finished):
    with Store(finished, read_only=True) as store:
        search = store.search("problem")
        trial = store.trials(search.studies[0].id)[0]
        waiting = type(trial)(
            **{**vars(trial), "state": TrialState.WAITING, "step": 0, "number": 9}
        )
        with pytest.raises(
            NothingUsable,
            match=r"^trial 9 of problem/adan has taken no step yet, it is waiting$",
        ):
            whole(search, "adan", waiting, [])


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (
            ["problem/adan", "99", "--rerun"],
            6,
            "no trial 99 of adan in search 'problem'; its 15 trials count from 0",
        ),
        (
            ["problem", "--rerun"],
            2,
            "--rerun needs the number of a trial; see autotune show --help",
        ),
    ],
)
def test_a_trial_that_is_not_there_is_one_sentence(finished, args, code, sentence):
    result = show(finished, *args)
    assert (result.exit_code, result.stderr) == (code, f"error: {sentence}\n")


def test_a_model_file_that_is_gone_is_one_sentence(task_file, url):
    with Store(url) as store:
        run(spec(task_file), store=store)
        search = store.search("problem")
        trial = store.trials(search.studies[0].id)[0]
        task_file.unlink()
        with pytest.raises(
            SpecError, match=rf"^cannot read model file {re.escape(str(task_file))}: "
        ):
            whole(search, "adan", trial, store.curve(trial.id))
