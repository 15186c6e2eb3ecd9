"""``autotune worker``, ``tell`` and ``doctor``, as a person types them."""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
import time

import pytest
from click.testing import CliRunner

from autotune.cli import main
from autotune.search.coordinator import run
from autotune.search.events import TrialEnded
from autotune.search.lock import folder_of
from autotune.studies import atomic
from autotune.studies.records import Command, Proposal, Role, SearchState, TrialState
from autotune.studies.spec import parse
from autotune.studies.store import Store
from autotune.testing.forked import Forked
from autotune.testing.trials import setting_of


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOTUNE_STORAGE", raising=False)
    return "sqlite:///autotune.db"


@pytest.fixture
def store(url):
    with Store(url) as opened:
        opened.create_search("net", {"model": "net"}, {}, {"adan": {}}, {})
        yield opened


@pytest.fixture
def trial(store):
    proposal = Proposal(role=Role.SEARCH, origin="sobol", setting=setting_of(), seed=0, target=90)
    return store.add_trial(1, proposal).id


def invoke(*args):
    result = CliRunner().invoke(main, list(args))
    return result.exit_code, result.stdout, result.stderr


def test_a_healthy_database_is_called_so(store):
    assert invoke("doctor") == (0, "nothing is wrong with sqlite:///autotune.db\n", "")


def test_a_database_that_is_not_there_cannot_be_examined(url):
    code, _, said = invoke("doctor")
    assert (code, said.startswith("error: no searches: there is no database")) == (6, True)


@pytest.fixture
def stale(store, trial, monkeypatch):
    monkeypatch.setenv("AUTOTUNE_LEASE", "0.1")
    store.begin(trial, "w1")
    time.sleep(0.15)


def test_a_stale_lease_is_found_and_left(store, trial, stale):
    code, out, _ = invoke("doctor")
    assert code == 4
    assert out == (
        f"net: trial {trial} is held by w1, not heard of since its lease; --fix takes the trial "
        "back to where it was saved\nrepair with: autotune doctor --fix\n"
    )
    assert store.trial(trial).state is TrialState.RUNNING


def test_a_stale_lease_is_mended(store, trial, stale):
    assert invoke("doctor", "--fix")[0] == 0
    assert store.trial(trial).state is TrialState.WAITING
    assert invoke("doctor")[0] == 0


def test_a_trial_that_nobody_holds_is_mended(store, trial, tmp_path):
    _execute(tmp_path, "UPDATE autotune_trials SET state = 'running'")
    code, out, _ = invoke("doctor", "--fix")
    assert (code, out) == (
        0,
        "net: trial adan/0 is called running but nobody holds it; repaired: calls it waiting\n",
    )
    assert store.trial(trial).state is TrialState.WAITING


def test_orphans_are_deleted(store, trial, tmp_path):
    _execute(tmp_path, "INSERT INTO autotune_points VALUES (99, 1, 0.0, 1.0, NULL, NULL)")
    assert "1 rows of autotune_points belong to nothing" in invoke("doctor")[1]
    assert invoke("doctor", "--fix")[0] == 0
    assert invoke("doctor")[0] == 0


def test_what_a_running_trial_is_writing_is_left_alone(store, trial):
    store.begin(trial, "w1")
    folder = folder_of(store.url, "net")
    folder.mkdir(parents=True)
    with atomic.writing(folder / "1-0-1.pt") as file:
        file.write(b"half of a state")
        assert invoke("doctor", "--fix") == (0, "nothing is wrong with sqlite:///autotune.db\n", "")


def test_what_a_killed_worker_was_writing_is_deleted(store, trial):
    folder = folder_of(store.url, "net")
    folder.mkdir(parents=True)
    part = atomic.part_of(folder / "1-0-1.pt")
    part.touch()
    assert invoke("doctor", "--fix")[0] == 0
    assert not part.exists()


def _execute(folder, statement):
    connection = sqlite3.connect(folder / "autotune.db")
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.fixture
def saved(store, trial):
    """A paused trial whose checkpoint is not what was recorded."""
    attempt = store.begin(trial, "w1")
    store.record(
        trial, attempt, state=TrialState.PAUSED, step=30, checkpoint=("1-0-1.pt", "0" * 64)
    )
    return folder_of(store.url, "net")


def test_a_missing_checkpoint_is_forgotten(store, trial, saved):
    assert "is not on this machine" in invoke("doctor")[1]
    assert invoke("doctor", "--fix")[0] == 0
    assert store.trial(trial).checkpoint is None


def test_a_damaged_checkpoint_is_forgotten_and_deleted(store, trial, saved):
    saved.mkdir(parents=True)
    (saved / "1-0-1.pt").write_bytes(b"torn")
    assert "is damaged" in invoke("doctor")[1]
    invoke("doctor", "--fix")
    invoke("doctor", "--fix")
    assert list(saved.iterdir()) == []


def test_a_missing_table_cannot_be_mended(store, tmp_path):
    _execute(tmp_path, "DROP TABLE autotune_exports")
    code, out, _ = invoke("doctor", "--fix")
    assert (code, out) == (4, "table autotune_exports is missing; this cannot be repaired here\n")


def test_findings_are_one_document(store, trial, stale):
    document = json.loads(invoke("doctor", "--json")[1])
    (finding,) = document["findings"]
    assert (finding["kind"], finding["search"], finding["mended"]) == ("lease", "net", False)


def test_a_word_reaches_the_workers(store):
    assert invoke("tell", "net", "pause") == (0, "", "the workers of 'net' are told to pause\n")
    assert store.beat(1, "w1", {}).command is Command.PAUSE
    store.update_search("net", state=SearchState.COMPLETE)
    said = "search 'net' is complete: nothing runs that could pause\n"
    assert invoke("tell", "net", "pause") == (0, "", said)


def test_a_worker_needs_a_search_that_is_there(store):
    code, _, said = invoke("worker", "--search", "nte")
    assert (code, said) == (
        6,
        "error: no search 'nte' in sqlite:///autotune.db; did you mean 'net'? (known: net)\n",
    )


def test_a_worker_takes_the_old_name_of_the_option_too(store):
    code, _, said = invoke("worker", "--study", "nte")
    assert code == 6
    assert said.splitlines() == [
        "--study is now --search; --study will be removed in the next release",
        "error: no search 'nte' in sqlite:///autotune.db; did you mean 'net'? (known: net)",
    ]


def test_a_worker_needs_the_name_of_a_search(store):
    code, _, said = invoke("worker")
    assert (code, said) == (
        2, "error: missing option '--search'; see autotune worker --help\n"
    )  # fmt: skip


def test_a_search_that_a_worker_runs_is_not_deleted(store, trial):
    store.begin(trial, "w1")
    assert invoke("delete", "net", "--yes") == (
        6, "", "error: search 'net' is being run by w1; stop it with: autotune tell net stop\n"
    )  # fmt: skip


def test_a_search_that_only_a_worker_runs_is_running(store, trial):
    store.begin(trial, "w1")
    assert json.loads(invoke("list", "--json")[1])["searches"][0]["state"] == "running"


def test_a_search_whose_worker_died_is_interrupted(store, trial, stale):
    assert json.loads(invoke("list", "--json")[1])["searches"][0]["state"] == "interrupted"


@pytest.fixture
def interrupted(store, task_file):
    """A search of a slow model, whose command was interrupted after its first trial."""
    task_file.write_text(task_file.read_text() + SLOW)
    halt = threading.Event()

    def listen(event):
        if isinstance(event, TrialEnded):
            halt.set()

    spec = {"model": f"{task_file}:slow", "optimizers": ["adamw"], "steps": 900, "name": "slow"}
    spec |= {"budget": {"trials": 2}, "engine": "inline"}
    run(parse(spec), store=store, listen=listen, halt=halt)
    return store.search("slow")


def test_a_terminated_worker_hands_back_and_says_so(store, interrupted):
    worker = Forked("worker", "--search", "slow", "--name", "w1")
    trial = _running(store, interrupted.id)
    worker.send_signal(signal.SIGTERM)
    said = worker.communicate(timeout=60)[1]
    assert worker.returncode == 143
    assert "worker w1 left; go on with: autotune search --resume slow" in said
    assert store.changes(interrupted.id).held == {}
    assert store.trial(trial).state is TrialState.PAUSED


SLOW = """

def slow(seed):
    made = problem(seed)

    def loss(model, batch):
        time.sleep(0.01)
        return torch.nn.functional.mse_loss(model(batch[0]), batch[1])

    return Problem(model=made.model, train=made.train, validation=made.validation, loss=loss)
"""


def _running(store, search):
    """Wait until a trial has taken a few steps under a lease; return its id."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for trial in store.changes(search).held:
            if store.curve(trial):
                return trial
        time.sleep(0.1)
    raise AssertionError("no trial was run")
