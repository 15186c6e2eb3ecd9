"""What Optuna's own tools see of a search."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
from subprocess import PIPE

import optuna
import pytest
from optuna.trial import TrialState as OptunaState
from sqlalchemy import event

from autotune.studies.errors import StorageError
from autotune.studies.optuna_mirror import Mirror
from autotune.studies.records import Point, Role, TrialState
from autotune.studies.store import Store

SPACE = {
    "lr": ["log", 1e-4, 1e-2],
    "warmup": ["linear", 0.0, 0.3],
    "decay": ["choice", ["on", "off"]],
}


@pytest.fixture
def mirror(store, search, url):
    made = Mirror(url)
    yield made
    made.close()


@pytest.fixture
def optunas(url):
    """Read a study the way Optuna's dashboard would."""
    storage = optuna.storages.RDBStorage(url)
    yield lambda: optuna.load_study(study_name="net/adan", storage=storage)
    storage.engine.dispose()


def tell(mirror, study, trial, space, points=()):
    """Copy one trial; return whether it was new and over."""
    return mirror.tell_all(study, [trial], space, lambda _: points) == 1


@pytest.mark.parametrize(
    ("state", "loss", "theirs", "value"),
    [
        (TrialState.COMPLETE, 0.5, OptunaState.COMPLETE, 0.5),
        (TrialState.DIVERGED, None, OptunaState.COMPLETE, math.inf),
        (TrialState.STOPPED, 0.7, OptunaState.PRUNED, 0.7),
        (TrialState.FAILED, None, OptunaState.FAIL, None),
    ],
)
def test_a_state_becomes_optunas(mirror, ended, optunas, state, loss, theirs, value):
    assert tell(mirror, "net/adan", ended(1, state, loss=loss), SPACE)
    (trial,) = optunas().trials
    assert (trial.state, trial.value) == (theirs, value)


@pytest.mark.parametrize("state", [TrialState.PAUSED, TrialState.RUNNING])
def test_a_trial_that_is_not_over_is_not_told(mirror, ended, state):
    assert not tell(mirror, "net/adan", ended(1, state), SPACE)


def test_a_judging_run_is_no_part_of_the_search(mirror, ended):
    assert not tell(mirror, "net/adan", ended(1, role=Role.JUDGE, loss=0.5), SPACE)


def test_a_diverged_trial_violates_a_constraint_and_is_never_the_best(mirror, ended, optunas):
    tell(mirror, "net/adan", ended(1, TrialState.DIVERGED), SPACE)
    tell(mirror, "net/adan", ended(1, loss=0.5), SPACE)
    assert [trial.constraints["diverged"] > 0 for trial in optunas().trials] == [True, False]
    assert optunas().best_trial.number == 1


def test_a_curve_becomes_intermediate_values(mirror, ended, optunas):
    points = [
        Point(step=10, seconds=0.1, train_loss=3.0),
        Point(step=20, seconds=0.2, train_loss=2.5, loss=2.0),
        Point(step=30, seconds=0.3, loss=1.0),
    ]
    tell(mirror, "net/adan", ended(1, TrialState.STOPPED, loss=1.0), SPACE, points)
    assert optunas().trials[0].intermediate_values == {20: 2.0, 30: 1.0}


def test_a_trial_carries_its_setting_and_history(mirror, ended, optunas):
    tell(mirror, "net/adan", ended(1, TrialState.FAILED, reason="no memory"), SPACE)
    attributes = optunas().trials[0].user_attrs
    assert attributes["hyper"] == {"lr": 0.01, "betas": [0.98, 0.92, 0.99]}
    assert (attributes["origin"], attributes["reason"]) == ("sobol", "no memory")


def test_a_trial_is_told_once(mirror, ended, optunas, url):
    trial = ended(1, loss=0.5)
    tell(mirror, "net/adan", trial, SPACE)
    resumed = Mirror(url)
    assert not tell(mirror, "net/adan", trial, SPACE)
    assert not tell(resumed, "net/adan", trial, SPACE)
    resumed.close()
    assert len(optunas().trials) == 1


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        ({"lr": 0.5, "decay": "on"}, {"lr": 0.5, "decay": "on"}),
        ({"lr": 1e-3, "warmup": 0, "unheard": 3}, {"lr": 1e-3, "warmup": 0.0}),
        ({"decay": "sometimes"}, {}),
        ({}, {}),
    ],
)
def test_what_optuna_can_hold_becomes_its_parameters(
    mirror, store, proposal, optunas, params, kept
):
    added = store.add_trial(1, proposal(params=params))
    trial = store.record(added.id, 0, state=TrialState.COMPLETE, step=90, loss=0.5)
    tell(mirror, "net/adan", trial, SPACE)
    assert optunas().trials[0].params == kept


def test_optuna_can_go_on_from_what_was_told(mirror, ended, optunas):
    tell(mirror, "net/adan", ended(1, loss=0.5), SPACE)
    study = optunas()
    space = study.trials[0].distributions
    assert 1e-4 <= study.ask(space).params["lr"] <= 1e-2


def test_optuna_says_nothing_on_the_way(mirror, ended, capfd):
    tell(mirror, "net/adan", ended(1, loss=0.5), SPACE)
    assert capfd.readouterr() == ("", "")


def test_a_forgotten_study_is_gone(mirror, ended, url, optunas):
    tell(mirror, "net/adan", ended(1, loss=0.5), SPACE)
    mirror.forget("net/adan")
    mirror.forget("net/never")
    with pytest.raises(KeyError):
        optunas()


def test_a_forgotten_study_can_begin_again(mirror, ended, optunas):
    trial = ended(1, loss=0.5)
    tell(mirror, "net/adan", trial, SPACE)
    mirror.forget("net/adan")
    assert tell(mirror, "net/adan", trial, SPACE)


def test_our_tables_do_not_mind_optunas(mirror, ended, url):
    tell(mirror, "net/adan", ended(1, loss=0.5), SPACE)
    with Store(url) as again:
        assert again.search("net").studies[0].best == 0.5


MIRROR = """
import sys
from autotune.studies.optuna_mirror import Mirror

print("ready", flush=True)
sys.stdin.readline()
Mirror(sys.argv[1]).close()
"""


def test_processes_that_come_at_once_do_not_fail_each_other(store, url):
    command = [sys.executable, "-P", "-c", MIRROR, url]
    processes = [
        subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) for _ in range(3)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60)[1] for process in processes]
    assert told == ["", "", ""]


def test_a_file_of_something_else_is_one_sentence(tmp_path):
    path = tmp_path / "notes.db"
    path.write_text("these are my notes, not a database\n" * 50)
    with pytest.raises(
        StorageError,
        match=rf"^storage sqlite:///{path} is not an SQLite database; name another file$",
    ):
        Mirror(str(path))


def test_a_full_disk_says_what_to_do(mirror, ended, url):
    def full(connection, _):
        connection.execute("PRAGMA max_page_count = 1")  # SQLite says then that the disk is full

    tell(mirror, "net/adan", ended(1, loss=0.5), SPACE)
    large = ended(1, TrialState.FAILED, reason="x" * 1_000_000)
    engine = mirror._storage.engine
    engine.dispose()
    event.listen(engine, "connect", full)
    with pytest.raises(
        StorageError,
        match=rf"^storage {url} cannot grow, the disk is full; free some space and try again$",
    ):
        tell(mirror, "net/adan", large, SPACE)


def test_what_is_wrong_with_optunas_tables_alone_names_them(tmp_path):
    path = tmp_path / "autotune.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE version_info (title)")
    connection.close()
    with pytest.raises(StorageError, match=rf"^Optuna's tables in sqlite:///{path} refused: "):
        Mirror(str(path))
